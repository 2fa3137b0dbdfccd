import { afterAll, beforeAll, expect, test } from 'vitest';
import { kubernetesUnderTest } from '../../../src/kubernetes-version.js';
import type { EncryptedResource } from '../../../src/kube-client.js';
import type { Metrics } from '../../../src/prometheus-text.js';
import { startSealedCluster, type SealedCluster } from '../../../src/sealed-cluster.js';
import { distinctSeeds, storedObjects } from '../../../src/stored-objects.js';

/** Secrets and ConfigMaps. */
const kinds = 2;
/**
 * How many objects of a kind an API server decodes at the same time as it starts, so that they may ask for the same seed together.
 * Ten from 1.37 on, where the feature gate ConcurrentWatchObjectDecode is on by default; one before.
 *
 * @see kubernetes/apiserver pkg/storage/etcd3/watcher.go, `processEventConcurrency`
 */
const decodersOfKind = Number(kubernetesUnderTest().split('.')[1]) >= 37 ? 10 : 1;

const lives = [1, 2, 3];
/** More than could be decoded at the same time, so that asking for every object would be noticed. */
const objectsOfLife = 40;

/** Probes unwrap too, and would be counted. */
const quietIntervalSeconds = 3_600;

let sealed: SealedCluster;
beforeAll(async () => {
  sealed = await startSealedCluster('restart', { probeIntervalSeconds: quietIntervalSeconds });
});
afterAll(async () => sealed.stop());

test('a restarted API server reads everything, with one Encrypt, and Decrypts that follow the seeds and not the objects', async () => {
  const { cluster, sealwax } = sealed;
  for (const life of lives) {
    if (life > 1) await cluster.restartApiServer();
    await Promise.all(namesOf(life).flatMap((name) => [createSecret(name), createConfigMap(name)]));
  }
  const seeds = distinctSeeds(await storedObjects(cluster.etcd));
  expect(seeds).toBe(lives.length);

  const before = await sealwax.metrics();
  await cluster.restartApiServer();
  await expectEverything();
  const after = await sealwax.metrics();

  expect(calls(after, 'Encrypt') - calls(before, 'Encrypt')).toBe(1);
  const decrypts = calls(after, 'Decrypt') - calls(before, 'Decrypt');
  expect(decrypts).toBeGreaterThanOrEqual(seeds);
  expect(decrypts).toBeLessThanOrEqual(seeds * kinds * decodersOfKind);
  expect(calls(after, 'Status') - calls(before, 'Status')).toBeGreaterThanOrEqual(1);
  expect(unwraps(after), 'local keys that are held need no remote call').toBe(unwraps(before));

  const seen = await cluster.client.metrics();
  for (const [method, count] of [
    ['Encrypt', 1],
    ['Decrypt', decrypts],
  ] as const) {
    const labels = { method_name: `/v2.KeyManagementService/${method}`, grpc_status_code: 'OK' };
    expect(seen.sum('apiserver_envelope_encryption_kms_operations_latency_seconds_count', labels)).toBe(count);
  }
});

test('reading again asks the plugin for nothing', async () => {
  const { cluster, sealwax } = sealed;
  const before = await sealwax.metrics();
  await cluster.client.list('secrets');
  await cluster.client.list('configmaps');
  await cluster.client.get('secrets', 'life-1-1');
  const after = await sealwax.metrics();
  for (const method of ['Encrypt', 'Decrypt']) expect(calls(after, method)).toBe(calls(before, method));
});

test('plugin and API server restarted together read everything, with one unwrap for the local key of all seeds', async () => {
  const { cluster, sealwax } = sealed;
  await cluster.stopApiServer();
  expect(await sealwax.stop()).toBe(0);
  await sealwax.start();
  await sealwax.untilOk();
  const before = await sealwax.metrics();
  await cluster.startApiServer();
  await expectEverything();
  expect(unwraps(await sealwax.metrics()) - unwraps(before)).toBe(1);
});

const namesOf = (life: number): string[] =>
  Array.from({ length: objectsOfLife }, (_, index) => `life-${life}-${index}`);

const createSecret = async (name: string): Promise<unknown> =>
  sealed.cluster.client.create('secrets', { name, data: { value: `secret ${name}` } });

const createConfigMap = async (name: string): Promise<unknown> =>
  sealed.cluster.client.create('configmaps', { name, data: { value: `setting ${name}` } });

async function expectEverything(): Promise<void> {
  const names = lives.flatMap(namesOf).sort();
  const values = async (resource: EncryptedResource): Promise<unknown[]> =>
    (await sealed.cluster.client.list(resource)).map(({ data }) => data['value']);
  expect(await values('secrets')).toEqual(names.map((name) => `secret ${name}`));
  expect(await values('configmaps')).toEqual(names.map((name) => `setting ${name}`));
}

function calls(metrics: Metrics, method: string): number {
  return metrics.sum('sealwax_rpc_total', { method, code: 'OK' });
}

function unwraps(metrics: Metrics): number {
  return metrics.sum('sealwax_remote_calls_total', { operation: 'unwrap' });
}
