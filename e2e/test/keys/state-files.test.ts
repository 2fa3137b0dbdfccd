import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { openBackend } from '@sealwax/core/conformance';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { annotationOf, derived, encodeAnnotation } from '../../src/envelope-format-1.js';
import { compressed } from '../../src/faults/at-the-socket.js';
import { FaultCluster } from '../../src/faults/fault-cluster.js';
import { startHttpKey } from '../../src/http-kms/http-key.js';
import { keySection, type KeyUnderTest } from '../../src/key-under-test.js';
import { serviceDirectories } from '../../src/service-directory.js';
import { waitFor } from '../../src/wait-for.js';

const execFileAsync = promisify(execFile);
const patience = { timeoutMs: 90_000 };

let key: KeyUnderTest;
let fault: FaultCluster;
beforeAll(async () => {
  const { kms } = await serviceDirectories('state', ['kms']);
  key = await startHttpKey(kms);
  fault = await FaultCluster.start('state', (plugin) => ({
    ...compressed,
    state: { path: plugin.stateDirectory },
    keys: [keySection(key, { name: 'prod' })],
  }));
});
afterAll(async () => {
  await fault.stop();
  await key.stop();
});

const stateFile = (name: string): string => path.join(fault.plugin.stateDirectory, name);

/** A file of the state directory with one annotation. */
async function putStateFile(name: string, annotation: Uint8Array, cluster = 'e2e'): Promise<void> {
  const annotations = [Buffer.from(annotation).toString('base64')];
  const content = { format: 1, cluster, numbers: { generation: 1, replacements: 0 }, annotations };
  await mkdir(fault.plugin.stateDirectory, { recursive: true, mode: 0o700 });
  await writeFile(stateFile(name), JSON.stringify(content), { mode: 0o600 });
}

test('state missing: it costs nothing but time', async () => {
  await fault.write();
  await fault.coldStart(() => rm(fault.plugin.stateDirectory, { recursive: true }));
  await fault.write();
  await fault.readAll();
});

test('remembered and rescued truncated: each is moved aside with an alarm, and nothing is lost', async () => {
  await fault.write();
  await untilRemembered();
  await putStateFile('rescue.json', Buffer.from('short'));
  await fault.coldStart(async () => {
    for (const name of ['remembered.json', 'rescue.json']) {
      const { length } = await readFile(stateFile(name));
      await truncate(stateFile(name), Math.floor(length / 2));
    }
  });
  for (const name of ['remembered.json', 'rescue.json']) {
    expect((await readdir(fault.plugin.stateDirectory)).some((file) => file.startsWith(`${name}.unusable-`))).toBe(
      true,
    );
  }
  expect((await fault.plugin.metrics()).sum('sealwax_alarms_total')).toBeGreaterThanOrEqual(2);
  await fault.write();
  await fault.readAll();
});

test('remembered of another cluster: it is refused with that reason, and nothing is lost', async () => {
  const stored = annotationOf(await fault.stored(await fault.write()));
  await fault.coldStart(() =>
    putStateFile('remembered.json', encodeAnnotation({ ...stored, cluster: 'other' }), 'other'),
  );
  expect(await fault.log()).toContain('of cluster \\"other\\", this is \\"e2e\\"');
  await fault.write();
  await fault.readAll();
});

test('planted by an attacker who knows the plaintext: a local key that is valid in every respect opens and never seals', async () => {
  const known = randomBytes(32);
  const { keyId, annotation } = await wrapped(known);
  await fault.coldStart(async () => {
    await putStateFile('remembered.json', annotation);
    await putStateFile('rescue.json', annotation);
  });
  await waitFor(async () => (await fault.plugin.metrics()).sum('sealwax_local_keys_held') >= 2, {
    what: 'the planted local key to be held',
    ...patience,
  });
  const planted = derived(known, 'commitment');
  const stored = await fault.stored(await fault.write());
  expect(stored.keyId).toBe(keyId);
  expect(planted.equals(annotationOf(stored).commitment)).toBe(false);
  for (let seal = 0; seal < 20; seal += 1) {
    expect(planted.equals(annotationOf(await fault.plugin.client.encrypt(randomBytes(32))).commitment)).toBe(false);
  }
  await fault.readAll();
});

test('planted in the place of a rescued record: what unwraps to another local key than the named one opens nothing', async () => {
  const stored = annotationOf(await fault.stored(await fault.write()));
  const attacker = await wrapped(randomBytes(32));
  // Names a local key of the cluster, and holds the attacker's.
  const forged = encodeAnnotation({ ...stored, records: attacker.records });
  await fault.coldStart(async () => {
    await putStateFile('remembered.json', forged);
    await putStateFile('rescue.json', forged);
  });
  await fault.write();
  await fault.readAll();
});

test('disk full: an alarm says so, everything goes on, and what was not written is written once there is room', async () => {
  await fault.cluster.stopApiServer();
  await fault.plugin.stop();
  const { stateDirectory } = fault.plugin;
  await rm(stateDirectory, { recursive: true, force: true });
  await mkdir(stateDirectory, { mode: 0o700 });
  await execFileAsync('mount', ['-t', 'tmpfs', '-o', 'size=64k,mode=0700', 'tmpfs', stateDirectory]);
  try {
    const filler = stateFile('filler');
    await writeFile(filler, randomBytes(64 * 1024)).catch(() => undefined);
    await fault.plugin.start();
    await fault.cluster.startApiServer();
    const load = fault.startLoad('full');
    await waitFor(async () => (await fault.log()).includes('no space left on device'), {
      what: 'the alarm',
      ...patience,
    });
    await fault.write();
    await fault.endLoad(load);
    expect(load.failures).toEqual([]);
    await fault.readAll();
    await rm(filler);
    await waitFor(async () => (await readFile(stateFile('remembered.json'), 'utf8')).includes('annotations'), {
      what: 'what was not written to be written',
      ...patience,
    });
    await fault.readAll();
  } finally {
    await fault.plugin.stop();
    await execFileAsync('umount', [stateDirectory]);
  }
  await fault.plugin.start();
  await fault.plugin.untilOk();
  await fault.cluster.restartApiServer();
  await fault.readAll();
});

/** A local key of ours under the cluster's own KEK: what somebody can make who may use the KMS. */
async function wrapped(localKey: Uint8Array) {
  const opened = await openBackend(key.harness);
  const record = await opened.backend.wrap(Uint8Array.from(localKey), new AbortController().signal);
  await opened.end();
  const records = [{ keyName: 'prod', ...record }];
  const annotation = encodeAnnotation({ commitment: derived(localKey, 'commitment'), cluster: 'e2e', records });
  return { keyId: (await fault.plugin.client.status()).keyId, records, annotation };
}

async function untilRemembered(): Promise<void> {
  await waitFor(async () => (await readFile(stateFile('remembered.json'))).length > 0, {
    what: 'remembered.json to be written',
    ...patience,
  });
}
