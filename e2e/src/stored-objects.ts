import { decodeStored, type EncryptedObject } from './encrypted-object.js';
import { providerName } from './encryption-configuration.js';
import type { Etcd } from './etcd.js';
import type { EncryptedResource } from './kube-client.js';

/** Where the API server keeps an object of the namespace `default`. */
export function storageKey(resource: EncryptedResource, name: string): string {
  return `/registry/${resource}/default/${name}`;
}

/** Every Secret and ConfigMap of all namespaces as etcd holds it, by storage key; throws when one is not sealed by Sealwax. */
export async function storedObjects(etcd: Etcd): Promise<Map<string, EncryptedObject>> {
  const stored = await Promise.all(
    ['secrets', 'configmaps'].map((resource) => etcd.client.list(`/registry/${resource}/`)),
  );
  return new Map(stored.flat().map(({ key, value }) => [key, decodeStored(providerName, value)]));
}

/** How many distinct seeds those objects need. */
export function distinctSeeds(objects: ReadonlyMap<string, EncryptedObject>): number {
  return new Set([...objects.values()].map((object) => Buffer.from(object.encryptedDekSource).toString('hex'))).size;
}
