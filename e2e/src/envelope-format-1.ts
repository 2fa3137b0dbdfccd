/**
 * Envelope format 1 as docs/envelope.md tells it. Written for the suite alone, so that a mistake in the plugin's own codec cannot hide behind itself.
 */
import { createCipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { Sealed } from './kms-wire.js';

export const annotationName = 'envelope.sealwax.internal';
const format = 1;

/** One wrapped copy of a local key. */
export interface StoredRecord {
  readonly keyName: string;
  readonly kekId: string;
  readonly ciphertext: Uint8Array;
}

/** What an annotation says. */
export interface StoredAnnotation {
  readonly commitment: Uint8Array;
  readonly cluster: string;
  readonly records: readonly StoredRecord[];
}

/** A value that comes from a local key. */
export function derived(localKey: Uint8Array, what: 'seal' | 'commitment'): Buffer {
  return Buffer.from(hkdfSync('sha256', localKey, new Uint8Array(0), `sealwax/1/${what}`, 32));
}

export function encodeAnnotation({ commitment, cluster, records }: StoredAnnotation): Uint8Array {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.LengthDelimited).bytes(commitment);
  writer.tag(2, WireType.LengthDelimited).string(cluster);
  for (const { keyName, kekId, ciphertext } of records) {
    const record = new BinaryWriter();
    record.tag(1, WireType.LengthDelimited).string(keyName);
    record.tag(2, WireType.LengthDelimited).string(kekId);
    record.tag(3, WireType.LengthDelimited).bytes(ciphertext);
    writer.tag(3, WireType.LengthDelimited).bytes(record.finish());
  }
  return writer.finish();
}

export function decodeAnnotation(bytes: Uint8Array): StoredAnnotation {
  const records: StoredRecord[] = [];
  const annotation = { commitment: new Uint8Array(), cluster: '', records };
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field] = reader.tag();
    if (field === 1) annotation.commitment = new Uint8Array(reader.bytes());
    else if (field === 2) annotation.cluster = reader.string();
    else if (field === 3) records.push(decodeRecord(reader.bytes()));
    else throw new Error(`an annotation has no field ${field}`);
  }
  return annotation;
}

/** The one annotation of what an API server stored, or a plugin answered. */
export function annotationOf({ annotations }: Pick<Sealed, 'annotations'>): StoredAnnotation {
  const bytes = annotations.get(annotationName);
  if (bytes === undefined || annotations.size !== 1) throw new Error('not exactly one annotation of Sealwax');
  return decodeAnnotation(bytes);
}

/** Seals `seed` as a plugin with this local key and these records would. */
export function seal(
  seed: Uint8Array,
  {
    localKey,
    keyId,
    ...wrapped
  }: { readonly localKey: Uint8Array; readonly keyId: string } & Omit<StoredAnnotation, 'commitment'>,
): Sealed {
  const annotation = encodeAnnotation({ ...wrapped, commitment: derived(localKey, 'commitment') });
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', derived(localKey, 'seal'), nonce);
  cipher.setAAD(Buffer.concat([Buffer.of(format), annotation, Buffer.from(keyId)].map(withLength)));
  return {
    ciphertext: Buffer.concat([Buffer.of(format), nonce, cipher.update(seed), cipher.final(), cipher.getAuthTag()]),
    keyId,
    annotations: new Map([[annotationName, annotation]]),
  };
}

function withLength(bytes: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

function decodeRecord(bytes: Uint8Array): StoredRecord {
  const record = { keyName: '', kekId: '', ciphertext: new Uint8Array() };
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field] = reader.tag();
    if (field === 1) record.keyName = reader.string();
    else if (field === 2) record.kekId = reader.string();
    else if (field === 3) record.ciphertext = new Uint8Array(reader.bytes());
    else throw new Error(`a record has no field ${field}`);
  }
  return record;
}
