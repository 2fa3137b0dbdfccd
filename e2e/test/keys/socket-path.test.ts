import { lstat, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { compressed } from '../../src/faults/at-the-socket.js';
import { FaultCluster } from '../../src/faults/fault-cluster.js';
import { startHttpKey } from '../../src/http-kms/http-key.js';
import { keySection, type KeyUnderTest } from '../../src/key-under-test.js';
import { Sealwax } from '../../src/sealwax.js';
import { serviceDirectories } from '../../src/service-directory.js';

let key: KeyUnderTest;
let fault: FaultCluster;
/** Another plugin that is to listen on the same path. */
let rival: Sealwax;
beforeAll(async () => {
  const { kms, plugin } = await serviceDirectories('socket', ['kms', 'plugin']);
  key = await startHttpKey(kms);
  const keys = [keySection(key, { name: 'prod' })];
  fault = await FaultCluster.start('socket', () => ({ ...compressed, keys }));
  rival = await Sealwax.configure(plugin);
  await rival.writeConfig({ ...compressed, keys, socket: { path: fault.plugin.socketPath, mode: '0600' } });
});
afterAll(async () => {
  rival.client.close();
  await fault.stop();
  await key.stop();
});

test('a living plugin’s socket is refused to another, and goes on serving', async () => {
  const before = await lstat(fault.plugin.socketPath);
  const load = fault.startLoad('living');
  for (let attempt = 0; attempt < 3; attempt += 1)
    await expect(rival.start()).rejects.toThrow('served by another process');
  await fault.endLoad(load);
  expect(load.failures).toEqual([]);
  expect((await lstat(fault.plugin.socketPath)).ino).toBe(before.ino);
});

test('a stale socket is replaced, and the API server finds the new one by itself', async () => {
  await fault.write();
  await fault.plugin.kill();
  expect((await lstat(fault.plugin.socketPath)).isSocket()).toBe(true);
  await fault.plugin.start();
  await fault.plugin.untilOk();
  await fault.untilReadyz(200);
  await fault.write();
  await fault.readAll();
});

test('a foreign file at the path is left untouched and said so; once it is gone the cluster heals by itself', async () => {
  const { socketPath } = fault.plugin;
  await fault.write();
  await fault.plugin.stop();
  await writeFile(socketPath, 'somebody’s file');
  await expect(fault.plugin.start()).rejects.toThrow('is no socket; it is left untouched');
  expect(await readFile(socketPath, 'utf8')).toBe('somebody’s file');
  await rm(socketPath);
  await mkdir(path.join(socketPath, 'kept'), { recursive: true });
  await expect(fault.plugin.start()).rejects.toThrow('is no socket; it is left untouched');
  expect((await lstat(path.join(socketPath, 'kept'))).isDirectory()).toBe(true);
  await rm(socketPath, { recursive: true });
  await fault.plugin.start();
  await fault.plugin.untilOk();
  await fault.untilReadyz(200);
  await fault.write();
  await fault.readAll();
});
