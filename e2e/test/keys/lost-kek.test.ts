import { afterAll, beforeAll, expect, test } from 'vitest';
import { annotationOf } from '../../src/envelope-format-1.js';
import { compressed } from '../../src/faults/at-the-socket.js';
import { FaultCluster } from '../../src/faults/fault-cluster.js';
import { startHttpKey } from '../../src/http-kms/http-key.js';
import { inflict, keySection, type KeyUnderTest } from '../../src/key-under-test.js';
import { serviceDirectories } from '../../src/service-directory.js';
import { waitFor } from '../../src/wait-for.js';

const patience = { timeoutMs: 120_000 };

let key: KeyUnderTest;
let fault: FaultCluster;
beforeAll(async () => {
  const { kms } = await serviceDirectories('lost', ['kms']);
  key = await startHttpKey(kms);
  fault = await FaultCluster.start('lost', (plugin) => ({
    ...compressed,
    state: { path: plugin.stateDirectory },
    keys: [keySection(key, { name: 'prod' })],
  }));
});
afterAll(async () => {
  await fault.stop();
  await key.stop();
});

test('old version destroyed: what it wrapped is rescued, the alarm has the command, and a cold start reads everything', async () => {
  const old = await fault.write();
  const before = await fault.storedKeyId(old);
  await inflict(key, 'rotate');
  const after = await fault.untilStoredUnderAnother(before);
  const load = fault.startLoad('destroyed');
  await inflict(key, 'destroyOldVersion');
  await untilRescued(1);
  expect((await fault.plugin.keys()).alarms.join()).toContain('cannot unwrap any more');
  expect(await fault.log()).toContain('kubectl get secrets --all-namespaces -o json | kubectl replace -f -');
  await fault.endLoad(load);
  expect(load.failures).toEqual([]);
  // The version in use is well: new data stays under its id.
  expect(await fault.storedKeyId(await fault.write())).toBe(after);

  await fault.coldStart();
  await fault.read(old);
  await fault.readAll();
  expect(await fault.readLoad(load)).toBe(load.acknowledged.size);
});

test('KEK replaced beneath its name: new data leaves it at once under another id, and a cold start reads everything', async () => {
  const old = await fault.write();
  const before = await fault.stored(old);
  const [recordBefore] = annotationOf(before).records;
  const load = fault.startLoad('replaced');
  await inflict(key, 'replaceKek');
  const after = await fault.untilStoredUnderAnother(before.keyId);
  expect(after.startsWith(before.keyId.slice(0, 10))).toBe(true);
  const [recordAfter] = annotationOf(await fault.stored(await fault.write())).records;
  expect(recordAfter?.ciphertext).not.toEqual(recordBefore?.ciphertext);
  await untilRescued(2);
  expect((await fault.plugin.keys()).alarms.join()).toContain('raise "generation"');
  await fault.endLoad(load);
  expect(load.failures).toEqual([]);
  await fault.readAll();

  await fault.coldStart();
  await fault.read(old);
  await fault.readAll();
  expect(await fault.readLoad(load)).toBe(load.acknowledged.size);
  expect(await fault.storedKeyId(await fault.write()), 'the id after a restart').toBe(after);
});

test('generation raised and the data rewritten: the alarm ends, and nothing needs what was rescued', async () => {
  const before = await fault.storedKeyId(await fault.write());
  await fault.reload({ generation: 2 });
  const after = await fault.untilStoredUnderAnother(before);
  expect(after).not.toMatch(/-1$/);
  await fault.rewriteAll();
  expect((await fault.plugin.keys()).alarms.join()).not.toContain('raise "generation"');
  await fault.coldStart();
  expect(await fault.storedKeyId('secret-1')).toBe(after);
  await fault.readAll();
});

async function untilRescued(atLeast: number): Promise<void> {
  await waitFor(async () => (await fault.plugin.metrics()).sum('sealwax_local_keys_rescued') >= atLeast, {
    what: `${atLeast} local keys to be rescued`,
    ...patience,
  });
}
