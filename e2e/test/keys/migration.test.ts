import { afterAll, beforeAll, expect, test } from 'vitest';
import { annotationOf } from '../../src/envelope-format-1.js';
import { compressed } from '../../src/faults/at-the-socket.js';
import { FaultCluster } from '../../src/faults/fault-cluster.js';
import { startHttpKey } from '../../src/http-kms/http-key.js';
import { inflict, keySection, type KeyUnderTest } from '../../src/key-under-test.js';
import { serviceDirectories } from '../../src/service-directory.js';

let a: KeyUnderTest;
let b: KeyUnderTest;
let fault: FaultCluster;
beforeAll(async () => {
  const directories = await serviceDirectories('migration', ['a', 'b']);
  a = await startHttpKey(directories.a);
  b = await startHttpKey(directories.b);
  fault = await FaultCluster.start('migration', (plugin) => ({
    ...compressed,
    state: { path: plugin.stateDirectory },
    keys: [keySection(a, { name: 'a' })],
  }));
});
afterAll(async () => {
  await fault.stop();
  await a.stop();
  await b.stop();
});

/** A key file, the third in a row. */
const file = () => ({ name: 'c', role: 'write', backend: 'local', config: { path: fault.plugin.keyFile } });

test('A writes → B writes and A reads, both healthy, under load: no write fails, and after a rewrite nothing needs A', async () => {
  const before = await fault.storedKeyId(await fault.write());
  const load = fault.startLoad('both');
  await fault.reload({ keys: [keySection(b, { name: 'b' }), keySection(a, { name: 'a', role: 'read' })] });
  const after = await fault.untilStoredUnderAnother(before);
  expect(after).toMatch(/^b:/);
  await fault.endLoad(load);
  expect(load.failures).toEqual([]);
  await fault.rewriteAll();
  expect(await recordsOf('secret-1')).toEqual(['b']);
  await fault.readAll();
});

test('A removed is refused while local keys remembered need it; in `retired` it goes, and its KMS with it', async () => {
  const load = fault.startLoad('retired');
  await fault.reload({ keys: [keySection(b, { name: 'b' })] }, 'refused');
  expect(await fault.log()).toContain('list it under \\"retired\\"');
  await fault.reload({ keys: [keySection(b, { name: 'b' })], retired: ['a'] });
  await inflict(a, 'outage');
  await fault.endLoad(load);
  expect(load.failures).toEqual([]);
  await fault.coldStart();
  await fault.write();
  await fault.readAll();
});

test('B dies in the middle of B → C under load: no write fails, all is rewritten from memory, and a cold start needs C alone', async () => {
  const before = await fault.storedKeyId(await fault.write());
  const load = fault.startLoad('dying');
  await fault.reload({ keys: [file(), keySection(b, { name: 'b', role: 'read' })], retired: ['a'] });
  await inflict(b, 'outage');
  const after = await fault.untilStoredUnderAnother(before);
  expect(after).toMatch(/^c:/);
  await fault.endLoad(load);
  expect(load.failures).toEqual([]);
  await fault.readAll();
  await fault.rewriteAll();
  expect(await recordsOf('secret-1')).toEqual(['c']);
  await fault.reload({ keys: [file()], retired: ['a', 'b'] });
  await fault.coldStart();
  await fault.write();
  await fault.readAll();
  expect(await fault.readLoad(load)).toBe(load.acknowledged.size);
});

async function recordsOf(name: string): Promise<readonly string[]> {
  return annotationOf(await fault.stored(name)).records.map(({ keyName }) => keyName);
}
