import { createCipheriv, randomBytes, randomUUID } from 'node:crypto';
import { dekSourceTypes, encodeStored } from './encrypted-object.js';
import { providerName } from './encryption-configuration.js';
import type { EtcdClient } from './etcd-client.js';
import type { Sealed } from './kms-wire.js';
import { storageKey } from './stored-objects.js';

const nonceLengthBytes = 12;
const keyLengthBytes = 32;

/** A Secret of the namespace `default` as the API server's storage holds it before encryption; it reads JSON as well as protobuf. */
export function storedSecret(name: string, value: string): Uint8Array {
  return Buffer.from(
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name, namespace: 'default', uid: randomUUID(), creationTimestamp: new Date().toISOString() },
      type: 'Opaque',
      data: { value: Buffer.from(value).toString('base64') },
    }),
  );
}

/**
 * Writes a Secret into etcd as an API server would that has just started, and so has a key of its own for the data.
 *
 * The key is an AES-GCM key and no seed: the API server reads both. The etcd key is bound as AAD.
 *
 * @param sealKey - what the plugin answers to Encrypt
 * @see kubernetes/apiserver pkg/storage/value/encrypt/aes/aes.go, `gcm.TransformToStorage`
 */
export async function putSeededSecret(
  etcd: EtcdClient,
  { name, value }: { readonly name: string; readonly value: string },
  sealKey: (dataKey: Uint8Array) => Sealed | Promise<Sealed>,
): Promise<void> {
  const dataKey = randomBytes(keyLengthBytes);
  const sealed = await sealKey(dataKey);
  const place = storageKey('secrets', name);
  const nonce = randomBytes(nonceLengthBytes);
  const cipher = createCipheriv('aes-256-gcm', dataKey, nonce);
  cipher.setAAD(Buffer.from(place));
  const encryptedData = Buffer.concat([
    nonce,
    cipher.update(storedSecret(name, value)),
    cipher.final(),
    cipher.getAuthTag(),
  ]);
  const object = {
    encryptedData,
    keyId: sealed.keyId,
    encryptedDekSource: sealed.ciphertext,
    annotations: sealed.annotations,
    encryptedDekSourceType: dekSourceTypes.aesGcmKey,
  };
  await etcd.put(place, encodeStored(providerName, object));
}
