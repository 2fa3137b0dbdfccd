import fc from 'fast-check';
import { expect, test } from 'vitest';
import { computeKeyId, type KeyIdInput } from '../src/key-id.js';

const prod = { keyName: 'prod', kekId: 'memory/v1' };
const dr = { keyName: 'dr', kekId: 'memory/v1' };
const input: KeyIdInput = { format: 1, cluster: 'prod-1', generation: 1, writer: 'prod', records: [prod, dr] };

test('a key id is the writer, a colon and 26 characters of base32', () => {
  expect(computeKeyId(input)).toMatch(/^prod:[a-z2-7]{26}$/);
});

test('the order of the records makes no difference', () => {
  const record = fc.record({ keyName: fc.string({ unit: 'binary' }), kekId: fc.string() });
  const shuffled = fc
    .uniqueArray(record, { selector: ({ keyName }) => keyName, maxLength: 8 })
    .filter((records) => records.every(({ keyName }) => keyName.isWellFormed()))
    .chain((records) => fc.tuple(fc.constant(records), fc.shuffledSubarray(records, { minLength: records.length })));
  fc.assert(
    fc.property(shuffled, ([records, others]) => {
      expect(computeKeyId({ ...input, records: others })).toBe(computeKeyId({ ...input, records }));
    }),
  );
});

const different: Record<string, KeyIdInput> = {
  'another format': { ...input, format: 2 },
  'another cluster': { ...input, cluster: 'prod-2' },
  'another generation': { ...input, generation: 2 },
  'the highest generation': { ...input, generation: Number.MAX_SAFE_INTEGER },
  'another writer of the same set': { ...input, writer: 'dr' },
  'one record less': { ...input, records: [prod] },
  'one record more': { ...input, records: [prod, dr, { keyName: 'old', kekId: 'memory/v1' }] },
  'another KEK version': { ...input, records: [{ ...prod, kekId: 'memory/v2' }, dr] },
  'the same KEK version of another key': { ...input, records: [prod, { ...dr, keyName: 'dr2' }] },
  'names and KEK ids that join to the same text': {
    ...input,
    records: [
      { keyName: 'prodm', kekId: 'emory/v1' },
      { keyName: 'd', kekId: 'rmemory/v1' },
    ],
  },
  'a cluster that ends where the records begin': { ...input, cluster: 'prod-1dr', records: [prod] },
};
test.each(Object.entries(different))('%s gives another key id', (_what, other) => {
  expect(computeKeyId(other)).not.toBe(computeKeyId(input));
});

test('all of these differ from each other too', () => {
  expect(new Set(Object.values(different).map(computeKeyId)).size).toBe(Object.keys(different).length);
});

test('distinct inputs give distinct ids', () => {
  const text = fc.string({ minLength: 1, maxLength: 3 });
  const any = fc.record({
    format: fc.constant(1),
    cluster: text,
    generation: fc.integer({ min: 1, max: 3 }),
    writer: text,
    records: fc.uniqueArray(fc.record({ keyName: text, kekId: text }), {
      selector: ({ keyName }) => keyName,
      minLength: 1,
      maxLength: 3,
    }),
  });
  const canonical = ({ records, ...rest }: KeyIdInput) =>
    JSON.stringify([rest, records.toSorted((a, b) => (a.keyName < b.keyName ? -1 : 1))]);
  fc.assert(
    fc.property(any, any, (one, other) => {
      expect(computeKeyId(one) === computeKeyId(other)).toBe(canonical(one) === canonical(other));
    }),
  );
});

test('the hash depends on set, cluster, generation and format; the writer only stands in front', () => {
  const [, hash] = computeKeyId(input).split(':');
  expect(computeKeyId({ ...input, writer: 'dr' })).toBe(`dr:${hash!}`);
});
