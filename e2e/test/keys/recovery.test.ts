import { lstat } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { annotationOf } from '../../src/envelope-format-1.js';
import { compressed } from '../../src/faults/at-the-socket.js';
import { FaultCluster } from '../../src/faults/fault-cluster.js';
import { startHttpKey } from '../../src/http-kms/http-key.js';
import type { HttpKmsHarness } from '../../src/http-kms/http-kms-harness.js';
import { keySection, type KeyUnderTest } from '../../src/key-under-test.js';
import { serviceDirectories } from '../../src/service-directory.js';

let lost: KeyUnderTest & { readonly harness: HttpKmsHarness };
let left: KeyUnderTest;
let fault: FaultCluster;
beforeAll(async () => {
  const directories = await serviceDirectories('recovery', ['lost', 'left']);
  lost = await startHttpKey(directories.lost);
  left = await startHttpKey(directories.left);
  fault = await FaultCluster.start('recovery', (plugin) => ({
    ...compressed,
    state: { path: plugin.stateDirectory },
    keys: [keySection(lost, { name: 'a' }), keySection(left, { name: 'b', role: 'recover' })],
  }));
});
afterAll(async () => {
  await fault.stop();
  await left.stop();
});

test('the writer’s KMS is destroyed: the cluster cold-starts from the recover key alone, the lost one still configured', async () => {
  const both = await fault.stored(await fault.write());
  expect(annotationOf(both).records.map(({ keyName }) => keyName)).toEqual(['a', 'b']);
  await fault.coldStart(() => lost.stop());
  await fault.readAll();
  const alone = await fault.stored(await fault.write());
  expect(annotationOf(alone).records.map(({ keyName }) => keyName)).toEqual(['b']);
  expect((await fault.plugin.keys()).alarms.join()).toContain('new data cannot be opened by key "a"');
});

test('the lost key is removed from the running plugin: same socket, no change of the API server, no restart of it', async () => {
  const before = await fault.storedKeyId(await fault.write());
  const socket = await lstat(fault.plugin.socketPath);
  const load = fault.startLoad('removed');
  await fault.reload({ keys: [keySection(left, { name: 'b' })], retired: ['a'] });
  const after = await fault.untilStoredUnderAnother(before);
  expect(after).toMatch(/^b:/);
  await fault.endLoad(load);
  expect(load.failures).toEqual([]);
  await fault.readAll();
  expect((await lstat(fault.plugin.socketPath)).ino).toBe(socket.ino);
});

test('a cold start without the lost key in the config reads what both had wrapped', async () => {
  await fault.coldStart();
  await fault.readAll();
  await fault.write();
  await fault.rewriteAll();
  await fault.readAll();
});
