import { describe, expect, test } from 'vitest';
import { EnvelopeDecoder } from '../src/envelope-decoder.js';
import { ANNOTATION_NAME, encodeAnnotation, envelopeAad, type EnvelopeParts } from '../src/envelope.js';
import { CLUSTER } from './open-ring.js';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const ciphertext = Uint8Array.of(1, ...Buffer.alloc(60, 7));
const commitmentOf = (localKey: number) => new Uint8Array(32).fill(localKey >> 8).fill(localKey, 16);
const annotationOf = (localKey: number, cluster = CLUSTER) =>
  encodeAnnotation({
    commitment: commitmentOf(localKey),
    cluster,
    records: [{ keyName: 'prod', kekId: 'kek', ciphertext: Uint8Array.of(1) }],
  });
const parts = (annotation: Uint8Array, keyId = 'id'): EnvelopeParts => ({
  ciphertext,
  keyId,
  annotations: new Map([[ANNOTATION_NAME, annotation]]),
});

describe('an envelope after one of the same local key', () => {
  test('says the same, whatever has become of the buffer that the first came in', () => {
    const decoder = new EnvelopeDecoder(CLUSTER);
    const received = annotationOf(1);
    decoder.decode(parts(received));
    received.fill(0xff);
    const { commitment, annotation, aad, records } = decoder.decode(parts(annotationOf(1)));
    expect(hex(commitment)).toBe(hex(commitmentOf(1)));
    expect(hex(annotation)).toBe(hex(annotationOf(1)));
    expect(hex(aad)).toBe(hex(envelopeAad(annotationOf(1), 'id')));
    expect(records).toMatchObject([{ keyName: 'prod', kekId: 'kek' }]);
  });

  test('is bound to its own key id', () => {
    const decoder = new EnvelopeDecoder(CLUSTER);
    for (const keyId of ['one', 'other', 'one'])
      expect(hex(decoder.decode(parts(annotationOf(1), keyId)).aad)).toBe(hex(envelopeAad(annotationOf(1), keyId)));
  });

  test.each([
    ['without a key id', { ...parts(annotationOf(1)), keyId: '' }, /key_id/],
    ['with a key id that is too long', { ...parts(annotationOf(1)), keyId: 'x'.repeat(1_025) }, /key_id/],
    ['of an unknown format', { ...parts(annotationOf(1)), ciphertext: Uint8Array.of(2, ...ciphertext) }, /format/],
    ['with one bit of its annotation changed', parts(annotationOf(1).with(1, 31)), /annotation/],
    ['of another cluster', parts(annotationOf(1, 'other')), /cluster "other"/],
  ])('is refused as the first would be: %s', (_, refused, reason) => {
    const decoder = new EnvelopeDecoder(CLUSTER);
    decoder.decode(parts(annotationOf(1)));
    expect(() => decoder.decode(refused)).toThrow(reason);
    expect(() => decoder.decode(refused)).toThrow(reason);
  });
});

test('envelopes of more local keys than are kept decoded are told apart', () => {
  const decoder = new EnvelopeDecoder(CLUSTER);
  const many = Array.from({ length: 2_500 }, (_, index) => parts(annotationOf(index)));
  for (const each of [...many, ...many]) {
    const annotation = each.annotations.get(ANNOTATION_NAME) ?? new Uint8Array();
    expect(hex(decoder.decode(each).annotation)).toBe(hex(annotation));
  }
});
