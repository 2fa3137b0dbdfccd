import { rm } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Cluster } from '../../src/cluster.js';
import { FaultCluster } from '../../src/faults/fault-cluster.js';
import { compressed } from '../../src/faults/at-the-socket.js';
import { ForeignLocalKeys } from '../../src/foreign-local-keys.js';
import { startHttpKey } from '../../src/http-kms/http-key.js';
import type { HttpKmsHarness } from '../../src/http-kms/http-kms-harness.js';
import { keySection, type KeyUnderTest } from '../../src/key-under-test.js';
import { putSeededSecret, storedSecret } from '../../src/seeded-secrets.js';
import { serviceDirectories } from '../../src/service-directory.js';
import { storageKey } from '../../src/stored-objects.js';
import { testDirectory } from '../../src/test-directory.js';
import { waitFor } from '../../src/wait-for.js';

const secrets = 1_000;
const names = Array.from({ length: secrets }, (_, index) => `seeded-${index}`);
/** Of each direction: as far away as a KMS in the same region. */
const distance = { kind: 'delay', ms: 5 } as const;
/** What is unwrapped besides: the probes, and the local key that seals. */
const unwrapsBeside = 30;

let key: KeyUnderTest & { readonly harness: HttpKmsHarness };
let fault: FaultCluster;
let plainMs: number;
beforeAll(async () => {
  const { kms } = await serviceDirectories('many', ['kms']);
  key = await startHttpKey(kms);
  plainMs = await timeWithoutEncryption();
  fault = await FaultCluster.start('many', (plugin) => ({
    ...compressed,
    probe: { ...compressed.probe, intervalSeconds: 5 },
    state: { path: plugin.stateDirectory },
    keys: [keySection(key, { name: 'prod' })],
  }));
}, 300_000);
afterAll(async () => {
  await fault.stop();
  await key.stop();
});

describe.each([1, 30, 1_000])(`${secrets} Secrets, each under its own seed, under %i local keys`, (localKeys) => {
  test('each record is unwrapped once, before the API server is ready', async () => {
    await key.harness.mend();
    const { keyId } = await fault.plugin.client.status();
    const foreign = await ForeignLocalKeys.wrap(key.harness, { count: localKeys, keyName: 'prod', keyId });
    await Promise.all(
      names.map((name, index) =>
        putSeededSecret(fault.cluster.etcd.client, { name, value: `value ${index}` }, (dataKey) =>
          foreign.seal(index, dataKey),
        ),
      ),
    );
    const cold = await coldStart(() => rm(fault.plugin.stateDirectory, { recursive: true, force: true }));
    expect(cold.unwraps).toBeGreaterThanOrEqual(localKeys);
    expect(cold.unwraps).toBeLessThanOrEqual(localKeys + unwrapsBeside);
    await expectEverySecret();
    await waitFor(async () => (await fault.plugin.metrics()).sum('sealwax_local_keys_remembered') >= localKeys, {
      what: 'every local key to be remembered',
      timeoutMs: 30_000,
    });

    const remembered = await coldStart();
    expect(remembered.unwraps).toBeGreaterThanOrEqual(localKeys);
    expect(remembered.unwraps).toBeLessThanOrEqual(localKeys + unwrapsBeside);
    await expectEverySecret();
    process.stdout.write(
      `${[
        `${secrets} seeds under ${localKeys} local keys, KMS ${2 * distance.ms} ms away, time to /readyz:`,
        `without encryption ${seconds(plainMs)}, without state ${seconds(cold.ms)}, with state ${seconds(remembered.ms)};`,
        `unwraps ${cold.unwraps} and ${remembered.unwraps}`,
      ].join(' ')}\n`,
    );
  });
});

/** Both down, both up; how long the API server took, and how often the plugin unwrapped until then. */
async function coldStart(between?: () => Promise<void>): Promise<{ readonly ms: number; readonly unwraps: number }> {
  await fault.cluster.stopApiServer();
  await fault.plugin.stop();
  await between?.();
  await key.harness.proxy.set(distance);
  await fault.plugin.start();
  await fault.plugin.untilOk();
  const ms = await timeToReady(fault.cluster);
  const unwraps = (await fault.plugin.metrics()).sum('sealwax_remote_calls_total', { operation: 'unwrap' });
  return { ms, unwraps };
}

async function timeToReady(cluster: Cluster): Promise<number> {
  const startedAt = performance.now();
  await cluster.startApiServer();
  return performance.now() - startedAt;
}

/** The same Secrets in the clear, on an etcd of their own. */
async function timeWithoutEncryption(): Promise<number> {
  const encryption = {
    apiVersion: 'apiserver.config.k8s.io/v1',
    kind: 'EncryptionConfiguration',
    resources: [{ resources: ['secrets', 'configmaps'], providers: [{ identity: {} }] }],
  };
  const cluster = await Cluster.prepare({ directory: await testDirectory('many-plain'), encryption });
  await cluster.startApiServer();
  await Promise.all(
    names.map((name, index) =>
      cluster.etcd.client.put(storageKey('secrets', name), storedSecret(name, `value ${index}`)),
    ),
  );
  await cluster.stopApiServer();
  const ms = await timeToReady(cluster);
  expect((await cluster.client.list('secrets')).length).toBeGreaterThanOrEqual(secrets);
  await cluster.stop();
  return ms;
}

async function expectEverySecret(): Promise<void> {
  const found = new Map((await fault.cluster.client.list('secrets')).map(({ name, data }) => [name, data['value']]));
  for (const [index, name] of names.entries()) expect(found.get(name)).toBe(`value ${index}`);
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}
