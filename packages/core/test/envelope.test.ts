import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  ANNOTATION_NAME,
  encodeAnnotation,
  encodeCiphertext,
  envelopeAad,
  MAX_SEED_LENGTH,
  type Envelope,
  type EnvelopeParts,
} from '../src/envelope.js';
import { KmsError } from '../src/kms-error.js';
import { decodeEnvelope } from './decode-envelope.js';
import { MemoryKms } from './memory-backend.js';
import { CLUSTER, openQuietRing, patience } from './open-ring.js';
import {
  concat,
  field,
  FIXED32,
  FIXED64,
  fromHex,
  GROUP_END,
  GROUP_START,
  hex,
  LEN,
  tag,
  utf8,
  VARINT,
  varint,
  type Bytes,
} from './wire.js';

const COMMITMENT = new Uint8Array(32).fill(7);
const WRAPPED = new Uint8Array(60).fill(9);
const KEY_ID = 'prod:aaaaaaaaaaaaaaaaaaaaaaaaaa';
const CIPHERTEXT = encodeCiphertext(new Uint8Array(60));

const record = (keyName: string) => ({ keyName, kekId: 'memory/v1', ciphertext: WRAPPED });
const envelopeOf = (...records: Envelope['records']): Envelope => ({
  commitment: COMMITMENT,
  cluster: CLUSTER,
  records,
});
const good = encodeAnnotation(envelopeOf(record('prod')));

// The same annotation by hand, in pieces to be put together wrongly.
const commitment = field(1, COMMITMENT);
const cluster = field(2, CLUSTER);
const keyName = field(1, 'prod');
const kekId = field(2, 'memory/v1');
const wrapped = field(3, WRAPPED);
const prod = field(3, concat(keyName, kekId, wrapped));
const wireRecord = (name: string | Bytes) => field(3, concat(field(1, name), kekId, wrapped));
const withRecord = (...fields: readonly Bytes[]) => concat(commitment, cluster, field(3, concat(...fields)));
const overlongField = (number: number, content: Bytes, lengthBytes: number) =>
  concat(tag(number, LEN), varint(content.length, lengthBytes), content);

function parts(annotation: Bytes): EnvelopeParts {
  return { ciphertext: CIPHERTEXT, keyId: KEY_ID, annotations: new Map([[ANNOTATION_NAME, annotation]]) };
}

/** Shows that Decrypt refuses `envelope` and asks no KMS about it. */
async function expectRefused(envelope: EnvelopeParts): Promise<void> {
  const kms = new MemoryKms();
  const { service } = await openQuietRing(kms);
  const callsBefore = kms.totalCalls;
  await expect(service.decrypt(envelope, patience)).rejects.toMatchObject({
    name: 'KmsError',
    code: 'INVALID_ARGUMENT',
  });
  expect(kms.totalCalls).toBe(callsBefore);
}

test('the annotation put together by hand is the one that is encoded', () => {
  expect(hex(concat(commitment, cluster, prod))).toBe(hex(good));
});

test('a good envelope reaches the KMS: what follows is refused for its own fault', async () => {
  const kms = new MemoryKms();
  const { service } = await openQuietRing(kms);
  const unwraps = kms.calls.unwrap;
  await expect(service.decrypt(parts(good), patience)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  expect(kms.calls.unwrap).toBe(unwraps + 1);
});

describe('an annotation that is not in canonical encoding is refused before any remote call', () => {
  const group = (number: number, ...content: readonly Bytes[]) =>
    concat(tag(number, GROUP_START), ...content, tag(number, GROUP_END));
  const cases: Record<string, Bytes> = {
    empty: new Uint8Array(),
    'cluster before commitment': concat(cluster, commitment, prod),
    'records first': concat(prod, commitment, cluster),
    'cluster last': concat(commitment, prod, cluster),
    'KEK id before key name': withRecord(kekId, keyName, wrapped),
    'ciphertext before KEK id': withRecord(keyName, wrapped, kekId),
    'commitment twice': concat(commitment, commitment, cluster, prod),
    'an empty commitment before the true one': concat(field(1, ''), commitment, cluster, prod),
    'cluster twice': concat(commitment, cluster, cluster, prod),
    'another cluster before ours': concat(commitment, field(2, 'other'), cluster, prod),
    'key name twice': withRecord(keyName, keyName, kekId, wrapped),
    'another key name before the true one': withRecord(field(1, 'other'), keyName, kekId, wrapped),
    'KEK id twice': withRecord(keyName, kekId, kekId, wrapped),
    'ciphertext twice': withRecord(keyName, kekId, wrapped, wrapped),
    'the same record twice': concat(commitment, cluster, prod, prod),
    'an explicit empty cluster': concat(commitment, field(2, ''), cluster, prod),
    'an explicit empty key name': withRecord(field(1, ''), keyName, kekId, wrapped),
    'an explicit empty ciphertext': withRecord(keyName, kekId, field(3, ''), wrapped),
    'an explicit empty record': concat(commitment, cluster, field(3, ''), prod),
    'an unknown varint field': concat(commitment, cluster, prod, tag(4, VARINT), varint(1)),
    'an unknown 32-bit field': concat(commitment, cluster, prod, tag(4, FIXED32), new Uint8Array(4)),
    'an unknown 64-bit field': concat(commitment, cluster, prod, tag(4, FIXED64), new Uint8Array(8)),
    'an unknown length-delimited field': concat(commitment, cluster, prod, field(15, 'x')),
    'an unknown field that is empty': concat(commitment, cluster, prod, field(4, '')),
    'an unknown group': concat(commitment, cluster, prod, group(4)),
    'a group that does not end': concat(commitment, cluster, prod, tag(4, GROUP_START)),
    'a group that did not begin': concat(commitment, cluster, prod, tag(4, GROUP_END)),
    'groups nested 1,000 deep': concat(commitment, cluster, prod, new Uint8Array(1_000).fill(4 * 8 + GROUP_START)),
    'an unknown field in front': concat(field(4, 'x'), commitment, cluster, prod),
    'the highest field number there is': concat(commitment, cluster, prod, field(2 ** 29 - 1, 'x')),
    'a field number beyond that': concat(commitment, cluster, prod, field(2 ** 29, 'x')),
    'field number 0': concat(commitment, cluster, prod, field(0, 'x')),
    'an unknown field in a record': withRecord(keyName, kekId, wrapped, field(4, 'x')),
    'a group in a record': withRecord(keyName, kekId, wrapped, group(4)),
    'commitment as a varint': concat(tag(1, VARINT), varint(7), cluster, prod),
    'cluster as a 64-bit field': concat(commitment, tag(2, FIXED64), utf8('prod-1--'), prod),
    'records as a group': concat(commitment, cluster, group(3, keyName, kekId, wrapped)),
    'a wire type that does not exist': concat(commitment, cluster, prod, tag(4, 6), varint(1)),
    'the tag of commitment in two bytes': concat(varint(1 * 8 + LEN, 2), commitment.subarray(1), cluster, prod),
    'the tag of a key name in five bytes': withRecord(
      concat(varint(1 * 8 + LEN, 5), keyName.subarray(1)),
      kekId,
      wrapped,
    ),
    'the length of commitment in two bytes': concat(overlongField(1, COMMITMENT, 2), cluster, prod),
    'the length of cluster in ten bytes': concat(commitment, overlongField(2, utf8(CLUSTER), 10), prod),
    'the length of cluster in eleven bytes': concat(commitment, overlongField(2, utf8(CLUSTER), 11), prod),
    'the length of a record in three bytes': concat(
      commitment,
      cluster,
      overlongField(3, concat(keyName, kekId, wrapped), 3),
    ),
    'the length of a KEK id in two bytes': withRecord(keyName, overlongField(2, utf8('memory/v1'), 2), wrapped),
    'a length beyond the end': concat(commitment, cluster, tag(3, LEN), varint(prod.length), prod.subarray(2)),
    'a length of 2^32 - 1': concat(commitment, tag(2, LEN), varint(2 ** 32 - 1), utf8(CLUSTER), prod),
    'a length of 2^63': concat(commitment, tag(2, LEN), fromHex('80808080808080808001'), utf8(CLUSTER), prod),
    'a record shorter than its fields': concat(
      commitment,
      cluster,
      tag(3, LEN),
      varint(prod.length - 12),
      prod.subarray(2),
    ),
    'a trailing zero': concat(good, Uint8Array.of(0)),
    'a trailing zero in a record': withRecord(keyName, kekId, wrapped, Uint8Array.of(0)),
    'a trailing tag': concat(good, tag(3, LEN)),
    'half a varint at the end': concat(good, Uint8Array.of(0x80)),
    'records in descending order': concat(commitment, cluster, wireRecord('prod'), wireRecord('dr')),
    'two records of one key': concat(
      commitment,
      cluster,
      wireRecord('prod'),
      field(3, concat(keyName, field(2, 'other'), wrapped)),
    ),
    'text instead of protobuf': utf8('{"commitment":"…"}'),
  };
  test.each(Object.entries(cases))('%s', (_name, annotation) => expectRefused(parts(annotation)));

  const notUtf8: Record<string, string> = {
    'a lone continuation byte': '80',
    'a cut two-byte sequence': 'c3',
    'an overlong slash': 'c0af',
    'an overlong NUL': 'c080',
    'a surrogate': 'eda080',
    'beyond U+10FFFF': 'f4908080',
    'the byte ff': 'ff',
  };
  describe.each(Object.entries(notUtf8))('bad UTF-8: %s', (_name, bad) => {
    test.each([
      ['in the cluster', concat(commitment, field(2, concat(utf8(CLUSTER), fromHex(bad))), prod)],
      ['in a key name', withRecord(field(1, concat(utf8('prod'), fromHex(bad))), kekId, wrapped)],
      ['in a KEK id', withRecord(keyName, field(2, concat(utf8('memory/v1'), fromHex(bad))), wrapped)],
      ['in a long KEK id', withRecord(keyName, field(2, concat(new Uint8Array(100).fill(97), fromHex(bad))), wrapped)],
    ])('%s', (_where, annotation) => expectRefused(parts(annotation)));
  });
});

describe('an annotation that breaks a limit is refused before any remote call, and cannot be encoded', () => {
  const records = (count: number) => Array.from({ length: count }, (_, index) => record(`key-${index}`));
  const cases: Record<string, Envelope> = {
    'no commitment': { ...envelopeOf(record('prod')), commitment: new Uint8Array() },
    'a commitment of 31 bytes': { ...envelopeOf(record('prod')), commitment: new Uint8Array(31) },
    'a commitment of 33 bytes': { ...envelopeOf(record('prod')), commitment: new Uint8Array(33) },
    'no cluster': { ...envelopeOf(record('prod')), cluster: '' },
    'no record': envelopeOf(),
    '9 records': envelopeOf(...records(9)),
    'no key name': envelopeOf(record('')),
    'a key name of 513 bytes': envelopeOf(record('k'.repeat(513))),
    'two records of one key': envelopeOf(record('prod'), record('prod')),
    'no KEK id': envelopeOf({ ...record('prod'), kekId: '' }),
    'a KEK id of 513 bytes': envelopeOf({ ...record('prod'), kekId: 'x'.repeat(513) }),
    'a KEK id of 257 letters and 514 bytes': envelopeOf({ ...record('prod'), kekId: 'ü'.repeat(257) }),
    'no ciphertext': envelopeOf({ ...record('prod'), ciphertext: new Uint8Array() }),
    '4,097 bytes': envelopeOf({ ...record('prod'), ciphertext: new Uint8Array(4_097 - good.length + 60 - 2) }),
    ...Object.fromEntries(
      ['\u0000', '\u0007', '\n', '\r', '\t', '\u001b', '\u007f', '\u0085', '\u009b'].flatMap((control) => {
        const name = `U+${control.charCodeAt(0).toString(16).padStart(4, '0')}`;
        return [
          [`the lone control character ${name} as KEK id`, envelopeOf({ ...record('prod'), kekId: control })],
          [`${name} within a KEK id`, envelopeOf({ ...record('prod'), kekId: `memory${control}v1` })],
          [`${name} in the name of another key`, envelopeOf(record('prod'), record(`prod${control}`))],
        ];
      }),
    ),
  };
  test.each(Object.entries(cases))('%s', async (_name, envelope) => {
    expect(() => encodeAnnotation(envelope)).toThrow(RangeError);
    const annotation = concat(
      envelope.commitment.length > 0 ? field(1, envelope.commitment) : new Uint8Array(),
      envelope.cluster === '' ? new Uint8Array() : field(2, envelope.cluster),
      ...envelope.records.map((one) =>
        field(
          3,
          concat(
            one.keyName === '' ? new Uint8Array() : field(1, one.keyName),
            one.kekId === '' ? new Uint8Array() : field(2, one.kekId),
            one.ciphertext.length === 0 ? new Uint8Array() : field(3, one.ciphertext),
          ),
        ),
      ),
    );
    await expectRefused(parts(annotation));
  });

  test('while 8 records, 512 bytes of KEK id and 4,096 bytes in all are taken', () => {
    const eight = envelopeOf(...records(8));
    expect(decodeEnvelope(parts(encodeAnnotation(eight)), CLUSTER).records).toHaveLength(8);
    const long = { ...record('prod'), kekId: 'ü'.repeat(256), ciphertext: new Uint8Array(2_048) };
    const short = encodeAnnotation(envelopeOf(long, { ...long, keyName: 'q', ciphertext: new Uint8Array(300) }));
    const filler = new Uint8Array(300 + 4_096 - short.length);
    const full = encodeAnnotation(envelopeOf(long, { ...long, keyName: 'q', ciphertext: filler }));
    expect(full).toHaveLength(4_096);
    expect(decodeEnvelope(parts(full), CLUSTER).records[1]!.ciphertext).toHaveLength(filler.length);
  });

  test.each(['a lone \ud800 surrogate', '\udc00'])(
    'a KEK id or key name that is no UTF-8 cannot be encoded: %j',
    (text) => {
      expect(() => encodeAnnotation(envelopeOf({ ...record('prod'), kekId: text }))).toThrow(RangeError);
      expect(() => encodeAnnotation(envelopeOf(record(text)))).toThrow(RangeError);
    },
  );
});

describe('what surrounds the annotation is checked before any remote call', () => {
  const annotations = new Map([[ANNOTATION_NAME, good]]);
  const cases: Record<string, EnvelopeParts> = {
    'no annotation': { ...parts(good), annotations: new Map() },
    'our annotation under another name': { ...parts(good), annotations: new Map([['envelope.example.com', good]]) },
    'our annotation in capitals': { ...parts(good), annotations: new Map([[ANNOTATION_NAME.toUpperCase(), good]]) },
    'another annotation besides ours': {
      ...parts(good),
      annotations: new Map([...annotations, ['other.example.com', new Uint8Array()]]),
    },
    'the same under a second name': { ...parts(good), annotations: new Map([...annotations, ['a.b', good]]) },
    'another cluster': parts(encodeAnnotation({ ...envelopeOf(record('prod')), cluster: 'prod-2' })),
    'our cluster in capitals': parts(encodeAnnotation({ ...envelopeOf(record('prod')), cluster: 'PROD-1' })),
    'our cluster and a space': parts(encodeAnnotation({ ...envelopeOf(record('prod')), cluster: 'prod-1 ' })),
    'no ciphertext': { ...parts(good), ciphertext: new Uint8Array() },
    'a ciphertext of format 0': { ...parts(good), ciphertext: Uint8Array.of(0, ...CIPHERTEXT.subarray(1)) },
    'a ciphertext of format 2': { ...parts(good), ciphertext: Uint8Array.of(2, ...CIPHERTEXT.subarray(1)) },
    'a ciphertext with an empty seed': { ...parts(good), ciphertext: CIPHERTEXT.subarray(0, 29) },
    'a ciphertext of 1,025 bytes': { ...parts(good), ciphertext: Uint8Array.of(1, ...new Uint8Array(1_024)) },
    'no key id': { ...parts(good), keyId: '' },
    'a key id of 1,025 bytes': { ...parts(good), keyId: 'x'.repeat(1_025) },
    'a key id of 513 letters and 1,026 bytes': { ...parts(good), keyId: 'ü'.repeat(513) },
  };
  test.each(Object.entries(cases))('%s', (_name, envelope) => expectRefused(envelope));

  test('while the longest ciphertext and key id are taken', () => {
    const ciphertext = encodeCiphertext(new Uint8Array(12 + MAX_SEED_LENGTH + 16));
    expect(ciphertext).toHaveLength(1_024);
    expect(decodeEnvelope({ ...parts(good), ciphertext }, CLUSTER).sealedSeed).toHaveLength(1_023);
    expect(() => decodeEnvelope({ ...parts(good), keyId: 'x'.repeat(1_024) }, CLUSTER)).not.toThrow();
  });
});

test('key names are in the order of their UTF-8 bytes, as every language can compare them', () => {
  // U+FF5E comes after U+1F511 where UTF-16 is compared, and before it in bytes.
  const names = ['\u{1f511}', '\uff5e', 'b', 'a-b', 'a', 'ab'];
  const inOrder = ['a', 'a-b', 'ab', 'b', '\uff5e', '\u{1f511}'];
  const annotation = encodeAnnotation(envelopeOf(...names.map(record)));
  expect(decodeEnvelope(parts(annotation), CLUSTER).records.map((one) => one.keyName)).toEqual(inOrder);
  expect(hex(annotation)).toBe(hex(concat(commitment, cluster, ...inOrder.map(wireRecord))));
});

test('the AAD of two envelopes is never the same', () => {
  const aad = fc.tuple(fc.uint8Array({ maxLength: 40 }), fc.string({ maxLength: 40 }));
  fc.assert(
    fc.property(aad, aad, ([annotation, keyId], [otherAnnotation, otherKeyId]) => {
      const same = hex(annotation) === hex(otherAnnotation) && keyId === otherKeyId;
      expect(hex(envelopeAad(annotation, keyId)) === hex(envelopeAad(otherAnnotation, otherKeyId))).toBe(same);
    }),
  );
  // The border between annotation and key id counts.
  expect(hex(envelopeAad(utf8('ab'), 'c'))).not.toBe(hex(envelopeAad(utf8('a'), 'bc')));
});

describe('for every envelope within the limits', () => {
  const name = fc
    .string({ unit: 'binary', minLength: 1, maxLength: 24 })
    .filter((text) => text.isWellFormed() && !/\p{Cc}/u.test(text));
  const bytes = (maxLength: number) => fc.uint8Array({ minLength: 1, maxLength });
  const envelope = fc.record({
    commitment: fc.uint8Array({ minLength: 32, maxLength: 32 }),
    cluster: name,
    records: fc.uniqueArray(fc.record({ keyName: name, kekId: name, ciphertext: bytes(300) }), {
      selector: (one) => one.keyName,
      minLength: 1,
      maxLength: 8,
    }),
  });
  const plain = ({ commitment: committed, cluster: its, records }: Envelope) => ({
    commitment: hex(committed),
    cluster: its,
    records: records
      .toSorted((a, b) => Buffer.compare(Buffer.from(a.keyName), Buffer.from(b.keyName)))
      .map((one) => ({ ...one, ciphertext: hex(one.ciphertext) })),
  });

  test('decoding gives what was encoded, and encoding that gives the same bytes', () => {
    fc.assert(
      fc.property(envelope, bytes(MAX_SEED_LENGTH), name, (original, seed, keyId) => {
        const annotation = encodeAnnotation(original);
        const sealedSeed = concat(new Uint8Array(12), seed, new Uint8Array(16));
        const sent = {
          ciphertext: encodeCiphertext(sealedSeed),
          keyId,
          annotations: new Map([[ANNOTATION_NAME, annotation]]),
        };
        const received = decodeEnvelope(sent, original.cluster);
        expect(plain(received)).toEqual(plain(original));
        expect(hex(received.sealedSeed)).toBe(hex(sealedSeed));
        expect(hex(received.annotation)).toBe(hex(annotation));
        expect(hex(received.aad)).toBe(hex(envelopeAad(annotation, keyId)));
        expect(hex(encodeAnnotation(received))).toBe(hex(annotation));
      }),
    );
  });

  test('the order of the records given makes no difference', () => {
    fc.assert(
      fc.property(envelope, (original) => {
        const reversed = { ...original, records: original.records.toReversed() };
        expect(hex(encodeAnnotation(reversed))).toBe(hex(encodeAnnotation(original)));
      }),
    );
  });

  test('bytes inserted, removed or changed give either another envelope that encodes to them, or a refusal', () => {
    const edit = fc.record({ at: fc.nat(1_000), remove: fc.nat(3), insert: fc.uint8Array({ maxLength: 3 }) });
    fc.assert(
      fc.property(envelope, fc.array(edit, { minLength: 1, maxLength: 3 }), (original, edits) => {
        let annotation = [...encodeAnnotation(original)];
        for (const { at, remove, insert } of edits) annotation = annotation.toSpliced(at, remove, ...insert);
        expectCanonicalOrRefused(Uint8Array.from(annotation), original.cluster);
      }),
      { numRuns: 500 },
    );
  });

  test('random bytes are an envelope that encodes to them, or are refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (annotation) => {
        expectCanonicalOrRefused(annotation, CLUSTER);
      }),
    );
  });

  function expectCanonicalOrRefused(annotation: Bytes, its: string): void {
    try {
      expect(hex(encodeAnnotation(decodeEnvelope(parts(annotation), its)))).toBe(hex(annotation));
    } catch (error) {
      if (!(error instanceof KmsError)) throw error;
      expect(error.code).toBe('INVALID_ARGUMENT');
    }
  }
});

test('views into larger buffers are taken for what they show', () => {
  const larger = new Uint8Array(good.length + 20).fill(0xff);
  larger.set(good, 10);
  const view = larger.subarray(10, 10 + good.length);
  expect(hex(encodeAnnotation(decodeEnvelope(parts(view), CLUSTER)))).toBe(hex(good));
});
