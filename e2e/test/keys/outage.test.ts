import { afterAll, beforeAll, expect, test } from 'vitest';
import { compressed } from '../../src/faults/at-the-socket.js';
import { FaultCluster } from '../../src/faults/fault-cluster.js';
import { startHttpKey } from '../../src/http-kms/http-key.js';
import { inflict, keySection, type KeyUnderTest } from '../../src/key-under-test.js';
import { serviceDirectories } from '../../src/service-directory.js';
import { waitFor } from '../../src/wait-for.js';

/** How long an API server goes on writing after the last good Status; its own, and not to be configured. */
const apiServerPatienceMs = 180_000;

let key: KeyUnderTest;
let fault: FaultCluster;
beforeAll(async () => {
  const { kms } = await serviceDirectories('outage', ['kms']);
  key = await startHttpKey(kms);
  fault = await FaultCluster.start('outage', (plugin) => ({
    ...compressed,
    state: { path: plugin.stateDirectory },
    outage: { ...compressed.outage, then: 'unready' },
    keys: [keySection(key, { name: 'prod' })],
  }));
});
afterAll(async () => {
  await fault.stop();
  await key.stop();
});

test('KMS away, unready: the API server is not ready and says why, reads and writes go on, and all heals by itself', async () => {
  const keyId = await fault.storedKeyId(await fault.write());
  await inflict(key, 'outage');
  expect(await fault.untilReadyz(500)).toContain('kms');
  expect((await fault.plugin.client.status()).keyId).toBe(keyId);
  await fault.write();
  await fault.readAll();
  await key.harness.mend();
  await fault.untilReadyz(200);
  expect(await fault.storedKeyId(await fault.write())).toBe(keyId);
  await fault.readAll();
});

test(
  'KMS away, stop-writes: after the API server’s three minutes writes fail, reads go on, and all heals by itself',
  { timeout: 420_000 },
  async () => {
    await fault.reload({ outage: { ...compressed.outage, then: 'stop-writes' } });
    const keyId = await fault.storedKeyId(await fault.write());
    const brokenAt = Date.now();
    await inflict(key, 'outage');
    await fault.untilReadyz(500);
    expect((await fault.plugin.client.status()).keyId).toBe('');
    await fault.write();
    const refusal = await waitFor(
      async () => {
        await fault.readAll();
        return fault.write().then(
          () => undefined,
          (error: unknown) => ({ error, afterMs: Date.now() - brokenAt }),
        );
      },
      { what: 'writes to stop', timeoutMs: apiServerPatienceMs + 120_000, intervalMs: 2_000 },
    );
    expect(refusal.error).toMatchObject({ status: 500 });
    expect(refusal.afterMs).toBeGreaterThan(apiServerPatienceMs - 30_000);
    await fault.readAll();
    await key.harness.mend();
    await fault.untilReadyz(200);
    expect(await fault.storedKeyId(await fault.write())).toBe(keyId);
    await fault.readAll();
  },
);
