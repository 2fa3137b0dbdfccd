import { createHash } from 'node:crypto';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Cluster } from '../../../src/cluster.js';
import { sealwaxOnly } from '../../../src/encryption-configuration.js';
import { decodeEncryptResponse, decodeStatusResponse } from '../../../src/kms-wire.js';
import { RecordingProxy } from '../../../src/recording-proxy.js';
import { Sealwax } from '../../../src/sealwax.js';
import { storageKey, storedObjects } from '../../../src/stored-objects.js';
import { testDirectory } from '../../../src/test-directory.js';
import { waitFor } from '../../../src/wait-for.js';
import { WriteLoad } from '../../../src/write-load.js';

let sealwax: Sealwax;
let proxy: RecordingProxy;
let cluster: Cluster;
let oldKeyId: string;
let newKeyId: string;
let load: WriteLoad;

beforeAll(async () => {
  const directory = await testDirectory('rotation');
  sealwax = await Sealwax.configure(directory);
  await sealwax.init();
  await sealwax.start();
  await sealwax.untilOk();
  const socketPath = path.join(directory, 'proxy.sock');
  proxy = await RecordingProxy.start({ socketPath, pluginSocketPath: sealwax.socketPath });
  cluster = await Cluster.prepare({ directory, encryption: sealwaxOnly(socketPath) });
  await cluster.startApiServer();
});
afterAll(async () => {
  await cluster.stop();
  proxy.stop();
  await sealwax.stop();
  sealwax.client.close();
});

test('a rotation under load reaches the API server, and no write fails', async () => {
  oldKeyId = (await sealwax.client.status()).keyId;
  await cluster.client.create('configmaps', { name: 'old', data: { value: 'old' } });
  load = new WriteLoad(cluster.client, 'load');
  await acknowledged(50);
  await sealwax.rotate();
  await waitFor(
    async () => {
      // The API server polls Status once a minute; being asked whether it is ready makes it look sooner.
      await cluster.client.probe('/readyz');
      const [newest] = [...load.acknowledged.keys()].slice(-1);
      return newest !== undefined && (await keyIdOf(newest)) !== oldKeyId;
    },
    { what: 'a Secret under the new key id', timeoutMs: 120_000, intervalMs: 500 },
  );
  await acknowledged(50);
  await load.stop();
  expect(load.failures).toEqual([]);
});

test('each Encrypt carries the id of the Status before it', () => {
  let reported: string | undefined;
  const sealedUnder: string[] = [];
  for (const { method, response } of proxy.answered) {
    expect(response, `${method} succeeds`).toBeDefined();
    if (response === undefined) continue;
    if (method === 'Status') reported = decodeStatusResponse(response).keyId;
    if (method !== 'Encrypt') continue;
    const { keyId } = decodeEncryptResponse(response);
    expect(keyId).toBe(reported);
    sealedUnder.push(keyId);
  }
  expect(sealedUnder).toHaveLength(2);
  expect(sealedUnder[0]).toBe(oldKeyId);
  expect(sealedUnder[1]).not.toBe(oldKeyId);
});

test('data from before the rotation are readable, and new data are under the new key id', async () => {
  expect((await cluster.client.get('configmaps', 'old')).data).toEqual({ value: 'old' });
  const found = new Map((await cluster.client.list('secrets')).map(({ name, data }) => [name, data['value']]));
  for (const [name, value] of load.acknowledged) expect(found.get(name)).toBe(value);
  newKeyId = (await sealwax.client.status()).keyId;
  expect(newKeyId).not.toBe(oldKeyId);
  await cluster.client.create('secrets', { name: 'new', data: { value: 'new' } });
  expect(await keyIdOf('new')).toBe(newKeyId);
  expect(await keyIdOf('load-1')).toBe(oldKeyId);
});

test('after a rewrite of all Secrets and ConfigMaps no object names the old id', async () => {
  await cluster.client.rewriteAll('secrets');
  await cluster.client.rewriteAll('configmaps');
  const ids = new Set([...(await storedObjects(cluster.etcd)).values()].map(({ keyId }) => keyId));
  expect([...ids]).toEqual([newKeyId]);
});

test('the plugin’s metrics name the key id as the API server’s do', async () => {
  const hash = `sha256:${createHash('sha256').update(newKeyId).digest('hex')}`;
  const labels = { key_id_hash: hash, transformation_type: 'to_storage' };
  const seen = await cluster.client.metrics();
  expect(seen.sum('apiserver_envelope_encryption_key_id_hash_total', labels)).toBeGreaterThan(0);
  const own = (await sealwax.metrics()).select('sealwax_key_id_info', { key_id_hash: hash });
  expect(own.map(({ value }) => value)).toEqual([1]);
});

async function keyIdOf(name: string): Promise<string | undefined> {
  return (await storedObjects(cluster.etcd)).get(storageKey('secrets', name))?.keyId;
}

async function acknowledged(count: number): Promise<void> {
  const goal = load.acknowledged.size + count;
  await waitFor(() => load.acknowledged.size >= goal, { what: `${count} more writes`, timeoutMs: 60_000 });
}
