import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { backend as local } from '@sealwax/backend-local';
import { openBackend } from '@sealwax/core/conformance';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { annotationOf, derived } from '../../src/envelope-format-1.js';
import { compressed } from '../../src/faults/at-the-socket.js';
import { FaultCluster } from '../../src/faults/fault-cluster.js';
import { startHttpKey } from '../../src/http-kms/http-key.js';
import { inflict, keySection, type KeyUnderTest } from '../../src/key-under-test.js';
import { findInMemory } from '../../src/process-memory.js';
import { Sealwax } from '../../src/sealwax.js';
import { SeedStore } from '../../src/seed-store.js';
import { serviceDirectories } from '../../src/service-directory.js';
import { testDirectory } from '../../src/test-directory.js';
import { waitFor } from '../../src/wait-for.js';

/** Compiled: the plugin is no test and reads no TypeScript. */
const refusingBackend = path.resolve(import.meta.dirname, '../../dist/refusing-backend.js');
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

test('key disabled, wipe: writes stop and the plugin opens nothing; enabled again, everything opens', async () => {
  await fault.write();
  const { pid } = fault.plugin;
  await inflict(key, 'disable');
  await untilWiped(fault.plugin);
  await fault.untilReadyz(500);
  // The API server keeps the seeds that it has opened for a day: what is wiped here is not wiped there.
  await fault.readAll();
  await fault.cluster.stopApiServer();
  await fault.cluster.startApiServer('answering');
  await expect(fault.read('secret-1')).rejects.toMatchObject({ status: 500 });
  await key.harness.mend();
  await fault.untilReadyz(200);
  expect(fault.plugin.pid).toBe(pid);
  await fault.write();
  await fault.readAll();
});

test('after a wipe the local key is nowhere in the process’s memory: neither raw, nor as hexadecimal digits, nor as base64', async () => {
  const plugin = await Sealwax.configure(await testDirectory('wipe-memory'));
  await plugin.init();
  const config = { path: plugin.keyFile };
  await plugin.writeConfig({
    ...compressed,
    refusal: { ...compressed.refusal, action: 'wipe' },
    state: { path: plugin.stateDirectory },
    keys: [{ name: 'prod', backend: refusingBackend, config }],
  });
  await plugin.start();
  await plugin.untilOk();
  const pid = plugin.pid ?? 0;
  const seeds = new SeedStore(plugin.client);
  const [record] = annotationOf((await seeds.write()) ?? fail('nothing was sealed')).records;
  const opened = await openBackend({ module: local, config });
  const localKey = await opened.backend.unwrap(record ?? fail('no record'), new AbortController().signal);
  await opened.end();
  const sealKey = derived(localKey, 'seal');
  expect(await formsFound(pid, localKey), 'the positive control').toContain('raw');
  expect(await formsFound(pid, sealKey), 'the positive control').toContain('raw');
  await seeds.readAll();

  await writeFile(`${plugin.keyFile}.disabled`, '');
  await untilWiped(plugin);
  expect(await formsFound(pid, localKey)).toEqual([]);
  expect(await formsFound(pid, sealKey)).toEqual([]);

  await rm(`${plugin.keyFile}.disabled`);
  await waitFor(async () => seeds.readAll().then(() => true), { what: 'the seeds to open again', ...patience });
  expect(plugin.pid).toBe(pid);
  await plugin.stop();
  plugin.client.close();
});

async function untilWiped(plugin: Sealwax): Promise<void> {
  await waitFor(async () => (await plugin.metrics()).sum('sealwax_local_keys_held') === 0, {
    what: 'the local keys to go',
    ...patience,
  });
}

async function formsFound(pid: number, secret: Uint8Array): Promise<readonly string[]> {
  return (await findInMemory(pid, secret)).map(({ form }) => form);
}

function fail(reason: string): never {
  throw new Error(reason);
}
