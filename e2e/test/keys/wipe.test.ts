import { openBackend } from '@sealwax/core/conformance';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { annotationOf, derived } from '../../src/envelope-format-1.js';
import { compressed } from '../../src/faults/at-the-socket.js';
import { FaultCluster } from '../../src/faults/fault-cluster.js';
import { startHttpKey } from '../../src/http-kms/http-key.js';
import { inflict, keySection, type KeyUnderTest } from '../../src/key-under-test.js';
import { findInMemory } from '../../src/process-memory.js';
import { serviceDirectories } from '../../src/service-directory.js';
import { waitFor } from '../../src/wait-for.js';

const patience = { timeoutMs: 60_000 };

let key: KeyUnderTest;
let fault: FaultCluster;
beforeAll(async () => {
  const { kms } = await serviceDirectories('wipe', ['kms']);
  key = await startHttpKey(kms);
  fault = await FaultCluster.start('wipe', (plugin) => ({
    ...compressed,
    refusal: { ...compressed.refusal, action: 'wipe' },
    state: { path: plugin.stateDirectory },
    keys: [keySection(key, { name: 'prod' })],
  }));
});
afterAll(async () => {
  await fault.stop();
  await key.stop();
});

test('key disabled, wipe: the local key is nowhere in the process’s memory; enabled again, everything opens', async () => {
  const name = await fault.write();
  const localKey = await localKeyOf(name);
  const sealKey = derived(localKey, 'seal');
  const pid = fault.plugin.pid ?? 0;
  expect(await formsFound(pid, localKey), 'the positive control').toContain('raw');
  expect(await formsFound(pid, sealKey), 'the positive control').toContain('raw');

  await inflict(key, 'disable');
  await waitFor(async () => (await fault.plugin.metrics()).sum('sealwax_local_keys_held') === 0, {
    what: 'the local keys to go',
    ...patience,
  });
  expect(await formsFound(pid, localKey)).toEqual([]);
  expect(await formsFound(pid, sealKey)).toEqual([]);
  expect(fault.plugin.pid).toBe(pid);
  await fault.untilReadyz(500);
  // The API server keeps the seeds that it has opened for a day: what is wiped here is not wiped there.
  await fault.readAll();

  await key.harness.mend();
  await fault.untilReadyz(200);
  await fault.write();
  await fault.cluster.restartApiServer();
  await fault.readAll();
});

/** The local key under which the API server stored this Secret, by way of the KMS. */
async function localKeyOf(name: string): Promise<Uint8Array> {
  const opened = await openBackend(key.harness);
  const [record] = annotationOf(await fault.stored(name)).records;
  if (record === undefined) throw new Error(`${name} is stored without a record`);
  const localKey = await opened.backend.unwrap(record, new AbortController().signal);
  await opened.end();
  return localKey;
}

async function formsFound(pid: number, secret: Uint8Array): Promise<readonly string[]> {
  return (await findInMemory(pid, secret)).map(({ form }) => form);
}
