import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';

/** How the API server turned the sealed bytes into the key of `encryptedData`. */
export const dekSourceTypes = { aesGcmKey: 0, hkdfSha256XnonceAesGcmSeed: 1 } as const;

/**
 * What etcd holds for a Secret behind KMS v2, after the provider's prefix.
 *
 * @see kubernetes/apiserver pkg/storage/value/encrypt/envelope/kmsv2/v2/api.proto, `EncryptedObject`
 */
export interface EncryptedObject {
  readonly encryptedData: Uint8Array;
  readonly keyId: string;
  readonly encryptedDekSource: Uint8Array;
  readonly annotations: ReadonlyMap<string, Uint8Array>;
  readonly encryptedDekSourceType: number;
}

/** What the value in etcd begins with when the provider `name` of the EncryptionConfiguration wrote it. */
export function storedPrefix(name: string): string {
  return `k8s:enc:kms:v2:${name}:`;
}

/** @throws when `stored` was not written by the KMS v2 provider `name`, or is no `EncryptedObject` */
export function decodeStored(name: string, stored: Uint8Array): EncryptedObject {
  const prefix = Buffer.from(storedPrefix(name));
  if (!prefix.equals(stored.subarray(0, prefix.length))) {
    throw new Error(
      `stored value begins with ${Buffer.from(stored.subarray(0, 24)).toString()}, not ${prefix.toString()}`,
    );
  }
  const reader = new BinaryReader(stored.subarray(prefix.length));
  const annotations = new Map<string, Uint8Array>();
  const object = {
    encryptedData: new Uint8Array(),
    keyId: '',
    encryptedDekSource: new Uint8Array(),
    annotations,
    encryptedDekSourceType: 0,
  };
  while (reader.pos < reader.len) {
    const [field] = reader.tag();
    if (field === 1) object.encryptedData = new Uint8Array(reader.bytes());
    else if (field === 2) object.keyId = reader.string();
    else if (field === 3) object.encryptedDekSource = new Uint8Array(reader.bytes());
    else if (field === 4) annotations.set(...decodeMapEntry(reader.bytes()));
    else if (field === 5) object.encryptedDekSourceType = reader.int32();
    else throw new Error(`EncryptedObject has no field ${field}`);
  }
  return object;
}

/** The bytes that `decodeStored` reads. */
export function encodeStored(name: string, object: EncryptedObject): Uint8Array {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.LengthDelimited).bytes(object.encryptedData);
  writer.tag(2, WireType.LengthDelimited).string(object.keyId);
  writer.tag(3, WireType.LengthDelimited).bytes(object.encryptedDekSource);
  for (const entry of object.annotations) writer.tag(4, WireType.LengthDelimited).bytes(encodeMapEntry(entry));
  if (object.encryptedDekSourceType !== 0) writer.tag(5, WireType.Varint).int32(object.encryptedDekSourceType);
  return Buffer.concat([Buffer.from(storedPrefix(name)), writer.finish()]);
}

/** One entry of a protobuf `map<string, bytes>`. */
export function decodeMapEntry(bytes: Uint8Array): [string, Uint8Array] {
  const reader = new BinaryReader(bytes);
  let name = '';
  let value = new Uint8Array();
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1) name = reader.string();
    else if (field === 2) value = new Uint8Array(reader.bytes());
    else reader.skip(wireType);
  }
  return [name, value];
}

export function encodeMapEntry([name, value]: readonly [string, Uint8Array]): Uint8Array {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.LengthDelimited).string(name);
  writer.tag(2, WireType.LengthDelimited).bytes(value);
  return writer.finish();
}
