import { rm } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { annotationOf } from '../../src/envelope-format-1.js';
import { compressed } from '../../src/faults/at-the-socket.js';
import { FaultCluster } from '../../src/faults/fault-cluster.js';
import { startHttpKey } from '../../src/http-kms/http-key.js';
import { inflict, keySection, type KeyUnderTest } from '../../src/key-under-test.js';
import { serviceDirectories } from '../../src/service-directory.js';
import { waitFor } from '../../src/wait-for.js';

const patience = { timeoutMs: 60_000 };

let writer: KeyUnderTest;
let recover: KeyUnderTest;
let fault: FaultCluster;
beforeAll(async () => {
  const directories = await serviceDirectories('cold', ['writer', 'recover']);
  writer = await startHttpKey(directories.writer);
  recover = await startHttpKey(directories.recover);
  fault = await FaultCluster.start('cold', (plugin) => ({
    ...compressed,
    state: { path: plugin.stateDirectory },
    keys: [keySection(writer, { name: 'prod' })],
  }));
});
afterAll(async () => {
  await fault.stop();
  await writer.stop();
  await recover.stop();
});
afterEach(async () => writer.harness.mend());

describe.each(['with', 'without'])('cold start while the writer’s KMS is away, %s state', (state) => {
  /** Both are down, and the writer's KMS goes. */
  async function loseWriter(): Promise<void> {
    if (state === 'without') await rm(fault.plugin.stateDirectory, { recursive: true });
    await inflict(writer, 'outage');
  }

  test('alone: nothing can be read or written, Status says why, and all heals by itself', async () => {
    await fault.reload({ keys: [keySection(writer, { name: 'prod' })], retired: ['dr'] });
    const name = await fault.write();
    await fault.coldStart(loseWriter, 'answering');
    const { healthz, keyId } = await fault.plugin.client.status();
    expect(healthz).toContain('"prod"');
    expect(keyId).toBe('');
    await expect(fault.read(name)).rejects.toMatchObject({ status: 500 });
    await expect(fault.write()).rejects.toThrow();
    expect((await fault.cluster.client.probe('/readyz')).status).not.toBe(200);
    await writer.harness.mend();
    await fault.untilReadyz(200);
    await fault.write();
    await fault.readAll();
    if (state === 'with') {
      await waitFor(async () => (await fault.plugin.metrics()).sum('sealwax_local_keys_held') >= 2, {
        what: 'the remembered local key to be held',
        ...patience,
      });
    }
  });

  test('beside a recover key: everything can be read and written, and the writer joins under a new key id once it is back', async () => {
    const alone = await fault.storedKeyId(await fault.write());
    await fault.reload({
      retired: [],
      keys: [keySection(writer, { name: 'prod' }), keySection(recover, { name: 'dr', role: 'recover' })],
    });
    const both = await fault.untilStoredUnderAnother(alone);
    expect(await recordsUnder(both)).toEqual(['dr', 'prod']);
    await fault.rewriteAll();

    await fault.coldStart(loseWriter);
    const withoutWriter = await fault.storedKeyId(await fault.write());
    expect(withoutWriter).not.toBe(both);
    expect(await recordsUnder(withoutWriter)).toEqual(['dr']);
    await fault.readAll();

    await writer.harness.mend();
    // Complete again: the same set has the same id as before, on every node.
    expect(await fault.untilStoredUnderAnother(withoutWriter)).toBe(both);
    expect(await recordsUnder(both)).toEqual(['dr', 'prod']);
    await fault.rewriteAll();
    await fault.readAll();
  });

  /** Names of the records that etcd holds with a Secret written now, which must be under this key id. */
  async function recordsUnder(keyId: string): Promise<readonly string[]> {
    const stored = await fault.stored(await fault.write());
    expect(stored.keyId).toBe(keyId);
    return annotationOf(stored).records.map(({ keyName }) => keyName);
  }
});
