/**
 * The messages of KMS v2 as bytes. Written for the suite alone, from the field numbers of the API server's api.proto, so that a mistake
 * in the plugin's own codec cannot hide behind itself.
 *
 * @see kubernetes/kms apis/v2/api.proto
 */
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { decodeMapEntry, encodeMapEntry } from './encrypted-object.js';

export interface StatusResponse {
  readonly version: string;
  readonly healthz: string;
  readonly keyId: string;
}

/** What Encrypt returns and Decrypt takes. */
export interface Sealed {
  readonly ciphertext: Uint8Array;
  readonly keyId: string;
  readonly annotations: ReadonlyMap<string, Uint8Array>;
}

export const encodeStatusRequest = (): Uint8Array => new Uint8Array();

export function decodeStatusResponse(bytes: Uint8Array): StatusResponse {
  const response = { version: '', healthz: '', keyId: '' };
  forEachField(bytes, (field, reader) => {
    if (field === 1) response.version = reader.string();
    else if (field === 2) response.healthz = reader.string();
    else if (field === 3) response.keyId = reader.string();
    else return false;
    return true;
  });
  return response;
}

export function encodeEncryptRequest(seed: Uint8Array, uid: string): Uint8Array {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.LengthDelimited).bytes(seed);
  writer.tag(2, WireType.LengthDelimited).string(uid);
  return writer.finish();
}

export function decodeEncryptResponse(bytes: Uint8Array): Sealed {
  const response = { ciphertext: new Uint8Array(), keyId: '', annotations: new Map<string, Uint8Array>() };
  forEachField(bytes, (field, reader) => {
    if (field === 1) response.ciphertext = new Uint8Array(reader.bytes());
    else if (field === 2) response.keyId = reader.string();
    else if (field === 3) response.annotations.set(...decodeMapEntry(reader.bytes()));
    else return false;
    return true;
  });
  return response;
}

export function encodeDecryptRequest(sealed: Sealed, uid: string): Uint8Array {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.LengthDelimited).bytes(sealed.ciphertext);
  writer.tag(2, WireType.LengthDelimited).string(uid);
  writer.tag(3, WireType.LengthDelimited).string(sealed.keyId);
  for (const entry of sealed.annotations) writer.tag(4, WireType.LengthDelimited).bytes(encodeMapEntry(entry));
  return writer.finish();
}

/** @returns the seed */
export function decodeDecryptResponse(bytes: Uint8Array): Uint8Array {
  let seed = new Uint8Array();
  forEachField(bytes, (field, reader) => {
    if (field !== 1) return false;
    seed = new Uint8Array(reader.bytes());
    return true;
  });
  return seed;
}

/** Calls `read` for each field; a field that it does not take is skipped. */
function forEachField(bytes: Uint8Array, read: (field: number, reader: BinaryReader) => boolean): void {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (!read(field, reader)) reader.skip(wireType);
  }
}
