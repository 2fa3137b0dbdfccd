import { describe, expect, test } from 'vitest';
import { ANNOTATION_NAME, type EnvelopeParts } from '../src/envelope.js';
import { KmsError } from '../src/kms-error.js';
import type { KmsService } from '../src/kms-service.js';
import { MemoryKms } from './memory-backend.js';
import { openQuietRing, patience, sealedElsewhere } from './open-ring.js';
import { hex, utf8, type Bytes } from './wire.js';

const SEED = new Uint8Array(32).fill(42);

const annotationOf = ({ annotations }: EnvelopeParts) => annotations.get(ANNOTATION_NAME)!;
const withAnnotation = (parts: EnvelopeParts, annotation: Bytes): EnvelopeParts => ({
  ...parts,
  annotations: new Map([[ANNOTATION_NAME, annotation]]),
});

function* bitFlips(bytes: Bytes): Generator<Bytes> {
  for (let bit = 0; bit < bytes.length * 8; bit += 1) {
    const flipped = Uint8Array.from(bytes);
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    yield flipped;
  }
}

function* cuts(bytes: Bytes): Generator<Bytes> {
  for (let length = 0; length < bytes.length; length += 1) {
    yield bytes.subarray(0, length);
    yield bytes.subarray(bytes.length - length);
  }
}

/** The gRPC code of the refusal; a seed in place of one fails the test. */
async function refusalOf(service: KmsService, parts: EnvelopeParts): Promise<string> {
  try {
    await service.decrypt(parts, patience);
  } catch (error) {
    if (error instanceof KmsError) return error.code;
    throw error;
  }
  throw new Error(
    `opened: ciphertext ${hex(parts.ciphertext)}, key id ${parts.keyId}, annotation ${hex(annotationOf(parts))}`,
  );
}

async function refusals(service: KmsService, tampered: Iterable<EnvelopeParts>): Promise<Set<string>> {
  const codes = new Set<string>();
  for (const parts of tampered) codes.add(await refusalOf(service, parts));
  return codes;
}

/** One node that knows the local key, since it sealed, and one that has to unwrap it. */
const nodes = {
  'where the local key is known': async () => {
    const { service } = await openQuietRing(new MemoryKms());
    return { service, sealed: service.encrypt(SEED) };
  },
  'where the local key is not yet known': async () => {
    const kms = new MemoryKms();
    const sealed = await sealedElsewhere(kms, SEED);
    const { service } = await openQuietRing(kms);
    return { service, sealed };
  },
};

describe.each(Object.entries(nodes))('%s', (_where, open) => {
  test('every flipped bit of the ciphertext is refused as INVALID_ARGUMENT', async () => {
    const { service, sealed } = await open();
    const tampered = Array.from(bitFlips(sealed.ciphertext), (ciphertext) => ({ ...sealed, ciphertext }));
    expect(await refusals(service, tampered)).toEqual(new Set(['INVALID_ARGUMENT']));
    expect(hex(await service.decrypt(sealed, patience))).toBe(hex(SEED));
  });

  test('every flipped bit of the key id is refused as INVALID_ARGUMENT', async () => {
    const { service, sealed } = await open();
    // As gRPC hands a string over: bytes that are no UTF-8 become U+FFFD.
    const tampered = Array.from(bitFlips(utf8(sealed.keyId)), (keyId) => ({
      ...sealed,
      keyId: new TextDecoder().decode(keyId),
    }));
    expect(await refusals(service, tampered)).toEqual(new Set(['INVALID_ARGUMENT']));
    expect(hex(await service.decrypt(sealed, patience))).toBe(hex(SEED));
  });

  test('every flipped bit of the annotation is refused', async () => {
    const { service, sealed } = await open();
    const tampered = Array.from(bitFlips(annotationOf(sealed)), (bytes) => withAnnotation(sealed, bytes));
    const codes = await refusals(service, tampered);
    // A flipped key name or KEK id is another key's or another version's.
    expect(['INVALID_ARGUMENT', 'NOT_FOUND', 'FAILED_PRECONDITION']).toEqual(expect.arrayContaining([...codes]));
    expect(hex(await service.decrypt(sealed, patience))).toBe(hex(SEED));
  });

  test('every cut of the ciphertext, from either end, is refused as INVALID_ARGUMENT', async () => {
    const { service, sealed } = await open();
    const tampered = Array.from(cuts(sealed.ciphertext), (ciphertext) => ({ ...sealed, ciphertext }));
    expect(await refusals(service, tampered)).toEqual(new Set(['INVALID_ARGUMENT']));
    expect(hex(await service.decrypt(sealed, patience))).toBe(hex(SEED));
  });

  test('every cut of the annotation, from either end, is refused as INVALID_ARGUMENT', async () => {
    const { service, sealed } = await open();
    const tampered = Array.from(cuts(annotationOf(sealed)), (bytes) => withAnnotation(sealed, bytes));
    expect(await refusals(service, tampered)).toEqual(new Set(['INVALID_ARGUMENT']));
    expect(hex(await service.decrypt(sealed, patience))).toBe(hex(SEED));
  });

  test('parts of two envelopes do not go together', async () => {
    const { service, sealed } = await open();
    const kms = new MemoryKms();
    const other = await sealedElsewhere(kms, SEED, { generation: 2 });
    await refusalOf(service, { ...sealed, ciphertext: other.ciphertext });
    await refusalOf(service, { ...sealed, keyId: other.keyId });
    await refusalOf(service, { ...sealed, annotations: other.annotations });
  });

  test('bytes behind the ciphertext or the annotation are refused as INVALID_ARGUMENT', async () => {
    const { service, sealed } = await open();
    const longer = (bytes: Bytes) => Uint8Array.of(...bytes, 0);
    const tampered = [
      { ...sealed, ciphertext: longer(sealed.ciphertext) },
      withAnnotation(sealed, longer(annotationOf(sealed))),
      { ...sealed, keyId: `${sealed.keyId}\0` },
    ];
    expect(await refusals(service, tampered)).toEqual(new Set(['INVALID_ARGUMENT']));
  });
});
