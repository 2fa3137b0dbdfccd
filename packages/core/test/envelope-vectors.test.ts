import { createCipheriv, createDecipheriv, createHash, createHmac } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { ANNOTATION_NAME, encodeAnnotation, encodeCiphertext, envelopeAad, FORMAT } from '../src/envelope.js';
import { computeKeyId } from '../src/key-id.js';
import { LocalKey } from '../src/local-key.js';
import { decodeEnvelope } from './decode-envelope.js';
import { MemoryKms } from './memory-backend.js';
import { memoryKey, openQuietRing, patience } from './open-ring.js';
import { vectorAnnotationName, vectorFormat, vectors, type Vector } from './vectors.js';
import { concat, field, hex, utf8, type Bytes } from './wire.js';

// The first half of each test computes with node:crypto and bytes laid out by hand, after docs/envelope.md and none of our code.

/** HKDF-SHA-256 (RFC 5869) without salt, for one block of output. */
function hkdf(inputKey: Bytes, info: string): Buffer {
  const pseudoRandomKey = createHmac('sha256', Buffer.alloc(32)).update(inputKey).digest();
  return createHmac('sha256', pseudoRandomKey).update(info).update(Uint8Array.of(1)).digest();
}

function withLengths(...parts: readonly Bytes[]): Bytes {
  return concat(
    ...parts.flatMap((part) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(part.length);
      return [length, part];
    }),
  );
}

function annotationByHand({ commitment, cluster, records }: Vector): Bytes {
  return concat(
    field(1, commitment),
    field(2, cluster),
    ...records.map(({ keyName, kekId, ciphertext }) =>
      field(3, concat(field(1, keyName), field(2, kekId), field(3, ciphertext))),
    ),
  );
}

function base32(bytes: Bytes): string {
  const alphabet = 'abcdefghijklmnopqrstuvwxyz234567';
  let number = BigInt(`0x${hex(bytes)}`) << 4n; // 256 bits and 4 of padding: 52 digits
  let text = '';
  for (let digit = 0; digit < 52; digit += 1, number >>= 5n) text = alphabet.charAt(Number(number & 31n)) + text;
  return text;
}

test('the vectors are of format 1, with 1, 3 and 8 records among them', () => {
  expect(vectorFormat).toBe(FORMAT);
  expect(vectorAnnotationName).toBe(ANNOTATION_NAME);
  expect(vectors.map(({ records }) => records.length)).toEqual(expect.arrayContaining([1, 3, 8]));
});

describe.each(vectors)('vector "$name"', (vector) => {
  const { localKey, sealKey, commitment, cluster, generation, writer, records, annotation, keyId, aad, nonce, seed } =
    vector;
  const ourKey = LocalKey.fromBytes(localKey);

  test('seal key and commitment come from the local key by HKDF', () => {
    expect(hex(hkdf(localKey, 'sealwax/1/seal'))).toBe(hex(sealKey));
    expect(hex(hkdf(localKey, 'sealwax/1/commitment'))).toBe(hex(commitment));

    expect(hex(ourKey.commitment)).toBe(hex(commitment));
    expect(ourKey.commitsTo(commitment)).toBe(true);
  });

  test('the annotation has these bytes', () => {
    expect(hex(annotationByHand(vector))).toBe(hex(annotation));

    expect(hex(encodeAnnotation({ commitment, cluster, records }))).toBe(hex(annotation));
    expect(hex(encodeAnnotation({ commitment, cluster, records: records.toReversed() }))).toBe(hex(annotation));
  });

  test('the key id has this hash input and result', () => {
    const generationBytes = Buffer.alloc(8);
    generationBytes.writeBigUInt64BE(BigInt(generation));
    const names = records.flatMap((record) => [utf8(record.keyName), utf8(record.kekId)]);
    const input = withLengths(utf8('sealwax/key-id'), Uint8Array.of(1), utf8(cluster), generationBytes, ...names);
    expect(hex(input)).toBe(hex(vector.keyIdHashInput));
    const hash = createHash('sha256').update(input).digest();
    expect(hex(hash)).toBe(hex(vector.keyIdHash));
    expect(`${writer}:${base32(hash).slice(0, 26)}`).toBe(keyId);

    expect(computeKeyId({ format: 1, cluster, generation, writer, records })).toBe(keyId);
  });

  test('the AAD has these bytes', () => {
    expect(hex(withLengths(Uint8Array.of(1), annotation, utf8(keyId)))).toBe(hex(aad));

    expect(hex(envelopeAad(annotation, keyId))).toBe(hex(aad));
  });

  test('the ciphertext is format ‖ nonce ‖ AES-256-GCM ‖ tag, and opens', () => {
    const cipher = createCipheriv('aes-256-gcm', sealKey, nonce);
    cipher.setAAD(aad);
    const sealed = concat(Uint8Array.of(1), nonce, cipher.update(seed), cipher.final(), cipher.getAuthTag());
    expect(hex(sealed)).toBe(hex(vector.ciphertext));

    const annotations = new Map([[ANNOTATION_NAME, annotation]]);
    const received = decodeEnvelope({ ciphertext: vector.ciphertext, keyId, annotations }, cluster);
    expect(hex(received.aad)).toBe(hex(aad));
    expect(hex(ourKey.open(received.sealedSeed, received.aad)!)).toBe(hex(seed));
    expect(hex(encodeCiphertext(received.sealedSeed))).toBe(hex(vector.ciphertext));
  });

  test('node:crypto opens what we seal', () => {
    const sealedSeed = ourKey.seal(seed, aad);
    const decipher = createDecipheriv('aes-256-gcm', sealKey, sealedSeed.subarray(0, 12));
    decipher.setAAD(aad);
    decipher.setAuthTag(sealedSeed.subarray(-16));
    expect(hex(concat(decipher.update(sealedSeed.subarray(12, -16)), decipher.final()))).toBe(hex(seed));
  });

  test('Decrypt opens it once the KMS has unwrapped its local key', async () => {
    const kms = new MemoryKms();
    const { service } = await openQuietRing(kms, { cluster, key: memoryKey(kms, records[0]!.keyName) });
    kms.unwrapNow = (wrapped) => {
      expect(hex(wrapped.ciphertext)).toBe(hex(records[0]!.ciphertext));
      expect(wrapped.kekId).toBe(records[0]!.kekId);
      return localKey.slice();
    };
    const annotations = new Map([[ANNOTATION_NAME, annotation]]);
    const opened = await service.decrypt({ ciphertext: vector.ciphertext, keyId, annotations }, patience);
    expect(hex(opened)).toBe(hex(seed));
  });
});
