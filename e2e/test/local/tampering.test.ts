import { status } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { decodeStored, dekSourceTypes, encodeStored, type EncryptedObject } from '../../src/encrypted-object.js';
import { providerName } from '../../src/encryption-configuration.js';
import { startSealedCluster, type SealedCluster } from '../../src/sealed-cluster.js';
import { storageKey } from '../../src/stored-objects.js';

const annotationName = 'envelope.sealwax.internal';
const tampered = 'tampered';
const others = ['other-1', 'other-2'];

let sealed: SealedCluster;
/** What etcd held for the object before it was tampered with. */
let original: Uint8Array;
beforeAll(async () => {
  sealed = await startSealedCluster('tampering');
  for (const name of [tampered, ...others]) {
    await sealed.cluster.client.create('secrets', { name, data: { value: `value of ${name}` } });
  }
  original = await sealed.cluster.etcd.client.get(storageKey('secrets', tampered));
});
afterEach(async () => {
  await put(original);
  expect((await sealed.cluster.client.get('secrets', tampered)).data).toEqual({ value: `value of ${tampered}` });
});
afterAll(async () => sealed.stop());

/** What is changed, and what the plugin answers to it: OK where only the API server can notice, because it never shows the plugin that field. */
const cases: readonly [string, keyof typeof status, (object: EncryptedObject) => Partial<EncryptedObject>][] = [
  ['a flipped bit in the encrypted data', 'OK', (o) => ({ encryptedData: flipped(o.encryptedData) })],
  ['encrypted data cut short', 'OK', (o) => ({ encryptedData: o.encryptedData.subarray(0, -1) })],
  [
    'a flipped bit in the ciphertext',
    'INVALID_ARGUMENT',
    (o) => ({ encryptedDekSource: flipped(o.encryptedDekSource) }),
  ],
  ['a ciphertext cut short', 'INVALID_ARGUMENT', (o) => ({ encryptedDekSource: o.encryptedDekSource.subarray(0, -1) })],
  [
    'another format byte',
    'INVALID_ARGUMENT',
    (o) => ({ encryptedDekSource: Uint8Array.of(2, ...o.encryptedDekSource.subarray(1)) }),
  ],
  ['no ciphertext', 'INVALID_ARGUMENT', () => ({ encryptedDekSource: new Uint8Array() })],
  [
    'another key id',
    'INVALID_ARGUMENT',
    (o) => ({ keyId: `${o.keyId.slice(0, -1)}${o.keyId.endsWith('a') ? 'b' : 'a'}` }),
  ],
  ['no key id', 'INVALID_ARGUMENT', () => ({ keyId: '' })],
  [
    'a flipped bit in the annotation',
    'INVALID_ARGUMENT',
    (o) => ({ annotations: new Map([[annotationName, flipped(annotation(o))]]) }),
  ],
  [
    'an annotation cut short',
    'INVALID_ARGUMENT',
    (o) => ({ annotations: new Map([[annotationName, annotation(o).subarray(0, -1)]]) }),
  ],
  [
    'a renamed annotation',
    'INVALID_ARGUMENT',
    (o) => ({ annotations: new Map([['envelope.other.internal', annotation(o)]]) }),
  ],
  ['no annotation', 'INVALID_ARGUMENT', () => ({ annotations: new Map() })],
  [
    'an added annotation',
    'INVALID_ARGUMENT',
    (o) => ({ annotations: new Map([...o.annotations, ['added.sealwax.internal', Uint8Array.of(1)]]) }),
  ],
  ['the other type', 'OK', () => ({ encryptedDekSourceType: dekSourceTypes.aesGcmKey })],
  ['an unknown type', 'OK', () => ({ encryptedDekSourceType: 7 })],
];

test.each(cases)('%s (plugin: %s): that object fails clearly, all others stay readable', async (_, answer, change) => {
  const { cluster, sealwax } = sealed;
  const { client } = cluster;
  const object = decodeStored(providerName, original);
  const changed = { ...object, ...change(object) };

  expect(await answerTo(changed)).toBe(answer);
  await put(encodeStored(providerName, changed));
  await expect(client.get('secrets', tampered)).rejects.toMatchObject({ name: 'KubeError', status: 500 });
  for (const name of others) expect((await client.get('secrets', name)).data).toEqual({ value: `value of ${name}` });
  expect(sealwax.isAlive).toBe(true);
  expect(cluster.isApiServerAlive).toBe(true);
});

test('one object’s ciphertext in the place of another does not open', async () => {
  const { client, etcd } = sealed.cluster;
  await put(await etcd.client.get(storageKey('secrets', 'other-1')));
  await expect(client.get('secrets', tampered)).rejects.toMatchObject({ name: 'KubeError', status: 500 });
});

async function put(value: Uint8Array): Promise<void> {
  await sealed.cluster.etcd.client.put(storageKey('secrets', tampered), value);
}

/** The code of the plugin's answer to the Decrypt that an API server would send for `object`. */
async function answerTo(object: EncryptedObject): Promise<string> {
  try {
    await sealed.sealwax.client.decrypt({ ...object, ciphertext: object.encryptedDekSource });
    return 'OK';
  } catch (error) {
    if (error instanceof Error && 'code' in error && typeof error.code === 'number') return String(status[error.code]);
    throw error;
  }
}

function annotation(object: EncryptedObject): Uint8Array {
  const value = object.annotations.get(annotationName);
  if (value === undefined) throw new Error('an object without our annotation');
  return value;
}

/** With one bit in the middle changed. */
function flipped(bytes: Uint8Array): Uint8Array {
  const middle = bytes.length >> 1;
  return bytes.map((byte, index) => (index === middle ? byte ^ 1 : byte));
}
