import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { dekSourceTypes } from '../../../src/encrypted-object.js';
import type { EncryptedResource } from '../../../src/kube-client.js';
import { startSealedCluster, type SealedCluster } from '../../../src/sealed-cluster.js';
import { storageKey, storedObjects } from '../../../src/stored-objects.js';

let sealed: SealedCluster;
beforeAll(async () => {
  sealed = await startSealedCluster('stored');
});
afterAll(async () => sealed.stop());

describe.each<EncryptedResource>(['secrets', 'configmaps'])('%s', (resource) => {
  test('are created, read, changed and deleted', async () => {
    const { client } = sealed.cluster;
    const created = await client.create(resource, { name: 'crud', data: { user: 'first' } });
    expect(created.data).toEqual({ user: 'first' });
    expect(await client.get(resource, 'crud')).toEqual(created);
    await client.update(resource, { ...created, data: { user: 'second' } });
    expect((await client.get(resource, 'crud')).data).toEqual({ user: 'second' });
    expect((await client.list(resource)).map(({ name }) => name)).toContain('crud');
    await client.delete(resource, 'crud');
    await expect(client.get(resource, 'crud')).rejects.toMatchObject({ status: 404 });
  });

  test('lie in etcd behind the provider prefix, sealed by one annotation and the key id of Status', async () => {
    await sealed.cluster.client.create(resource, { name: 'kept', data: { user: 'kept' } });
    const { keyId } = await sealed.sealwax.client.status();
    expect(keyId).toMatch(/^prod:[a-z2-7]{26}$/);
    const stored = (await storedObjects(sealed.cluster.etcd)).get(storageKey(resource, 'kept'));
    expect(stored).toMatchObject({ keyId, encryptedDekSourceType: dekSourceTypes.hkdfSha256XnonceAesGcmSeed });
    expect(stored?.encryptedDekSource).toHaveLength(61);
    expect([...(stored?.annotations.keys() ?? [])]).toEqual(['envelope.sealwax.internal']);
  });
});

test('the plaintext is found nowhere in the files of etcd', async () => {
  const { client, etcd } = sealed.cluster;
  const secret = 'correct-horse-battery-staple';
  const open = 'this-one-is-not-encrypted';
  await client.create('secrets', { name: 'hidden', data: { value: secret } });
  await client.create('configmaps', { name: 'hidden', data: { value: secret } });
  const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'open', annotations: { note: open } } };
  await client.call('POST', '/api/v1/namespaces/default/serviceaccounts', account);
  const files = await contents(etcd.dataDirectory);
  const holds = (text: string): boolean => files.some((file) => file.includes(text));
  expect(holds(open), 'the search finds what is there').toBe(true);
  expect(holds(secret)).toBe(false);
  expect(holds(Buffer.from(secret).toString('base64'))).toBe(false);
});

async function contents(directory: string): Promise<Buffer[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return Promise.all(
    entries.filter((entry) => entry.isFile()).map((entry) => readFile(path.join(entry.parentPath, entry.name))),
  );
}
