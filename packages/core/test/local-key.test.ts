import { describe, expect, test } from 'vitest';
import { LocalKey } from '../src/local-key.js';
import { hex, utf8 } from './wire.js';

const seed = new Uint8Array(32).fill(3);
const aad = utf8('format, annotation, key id');

// Not slice(): that of a Buffer is a view.
const copied = (bytes: Uint8Array) => Uint8Array.from(bytes);
/** The 32 bytes, by the way a backend gets them. */
const bytesOf = (localKey: LocalKey) => localKey.borrow(async (bytes) => copied(bytes));

test('opens what it sealed, of any length', () => {
  const localKey = LocalKey.generate();
  for (const length of [1, 16, 32, 995]) {
    const long = new Uint8Array(length).fill(5);
    const sealed = localKey.seal(long, aad);
    expect(sealed).toHaveLength(12 + length + 16);
    expect(hex(localKey.open(sealed, aad)!)).toBe(hex(long));
  }
});

test('seals the same seed to other bytes each time', () => {
  const localKey = LocalKey.generate();
  const sealed = Array.from({ length: 100 }, () => hex(localKey.seal(seed, aad)));
  expect(new Set(sealed).size).toBe(100);
  expect(new Set(sealed.map((bytes) => bytes.slice(0, 24))).size).toBe(100);
});

test('the sealed bytes do not hold the seed', () => {
  expect(hex(LocalKey.generate().seal(seed, aad))).not.toContain(hex(seed));
});

test('opens nothing that differs in a bit', () => {
  const localKey = LocalKey.generate();
  const sealed = localKey.seal(seed, aad);
  for (let bit = 0; bit < sealed.length * 8; bit += 1) {
    const flipped = copied(sealed);
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    expect(localKey.open(flipped, aad)).toBeUndefined();
  }
});

test('opens nothing that is cut', () => {
  const localKey = LocalKey.generate();
  const sealed = localKey.seal(seed, aad);
  for (let length = 0; length < sealed.length; length += 1) {
    expect(localKey.open(sealed.subarray(0, length), aad)).toBeUndefined();
  }
});

test('opens nothing under other additional data', () => {
  const localKey = LocalKey.generate();
  const sealed = localKey.seal(seed, aad);
  expect(localKey.open(sealed, utf8('format, annotation, key ie'))).toBeUndefined();
  expect(localKey.open(sealed, new Uint8Array())).toBeUndefined();
});

test('opens nothing that another local key sealed', () => {
  expect(LocalKey.generate().open(LocalKey.generate().seal(seed, aad), aad)).toBeUndefined();
});

test('two local keys differ in bytes and commitment', async () => {
  const [one, other] = [LocalKey.generate(), LocalKey.generate()];
  expect(hex(await bytesOf(one))).not.toBe(hex(await bytesOf(other)));
  expect(hex(one.commitment)).not.toBe(hex(other.commitment));
  expect(one.equals(other)).toBe(false);
});

test('the same bytes are the same local key', async () => {
  const localKey = LocalKey.generate();
  const again = LocalKey.fromBytes(await bytesOf(localKey));
  expect(again.equals(localKey)).toBe(true);
  expect(hex(again.commitment)).toBe(hex(localKey.commitment));
  expect(hex(again.open(localKey.seal(seed, aad), aad)!)).toBe(hex(seed));
});

describe('the commitment', () => {
  test('is 32 bytes that tell nothing of the local key itself', async () => {
    const localKey = LocalKey.generate();
    expect(localKey.commitment).toHaveLength(32);
    expect(hex(localKey.commitment)).not.toBe(hex(await bytesOf(localKey)));
  });

  test('fits its own local key only, in each bit', () => {
    const localKey = LocalKey.generate();
    expect(localKey.commitsTo(copied(localKey.commitment))).toBe(true);
    for (let bit = 0; bit < 256; bit += 1) {
      const flipped = copied(localKey.commitment);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      expect(localKey.commitsTo(flipped)).toBe(false);
    }
  });

  test.each([0, 31, 33])('of %i bytes is none', (length) => {
    expect(LocalKey.generate().commitsTo(new Uint8Array(length))).toBe(false);
  });
});

test.each([0, 16, 31, 33, 64])('%i bytes are no local key', (length) => {
  expect(() => LocalKey.fromBytes(new Uint8Array(length))).toThrow(RangeError);
});

test('what it was made from can be overwritten', async () => {
  const bytes = new Uint8Array(32).fill(1);
  const localKey = LocalKey.fromBytes(bytes);
  bytes.fill(0);
  expect(hex(await bytesOf(localKey))).toBe('01'.repeat(32));
});

describe('what it lends', () => {
  test('is overwritten when the borrower is done', async () => {
    let lent: Uint8Array | undefined;
    await LocalKey.generate().borrow(async (bytes) => {
      expect(hex(bytes)).not.toBe('00'.repeat(32));
      lent = bytes;
    });
    expect(hex(lent!)).toBe('00'.repeat(32));
  });

  test('is overwritten when the borrower fails', async () => {
    let lent: Uint8Array | undefined;
    const borrowed = LocalKey.generate().borrow(async (bytes) => {
      lent = bytes;
      throw new Error('no');
    });
    await expect(borrowed).rejects.toThrow('no');
    expect(hex(lent!)).toBe('00'.repeat(32));
  });

  test('is a copy: a borrower cannot change the local key', async () => {
    const localKey = LocalKey.generate();
    const before = await bytesOf(localKey);
    await localKey.borrow(async (bytes) => bytes.fill(0xff));
    expect(hex(await bytesOf(localKey))).toBe(hex(before));
  });

  test('shares no memory with other buffers', async () => {
    await LocalKey.generate().borrow(async (bytes) => {
      expect(bytes.buffer.byteLength).toBe(32);
    });
  });
});

test('a destroyed local key seals, opens, compares and lends no more', async () => {
  const [localKey, other] = [LocalKey.generate(), LocalKey.generate()];
  const sealed = localKey.seal(seed, aad);
  localKey.destroy();
  expect(() => localKey.seal(seed, aad)).toThrow();
  expect(() => localKey.open(sealed, aad)).toThrow();
  expect(() => localKey.equals(other)).toThrow();
  expect(() => other.equals(localKey)).toThrow();
  await expect(bytesOf(localKey)).rejects.toThrow();
});

test('nothing that prints an object shows the key', async () => {
  const localKey = LocalKey.generate();
  const secret = hex(await bytesOf(localKey));
  const { inspect } = await import('node:util');
  for (const printed of [inspect(localKey, { depth: 9, showHidden: true }), JSON.stringify(localKey)]) {
    expect(printed.replaceAll(/[^0-9a-f]/g, '')).not.toContain(secret);
    expect(printed).not.toContain(Buffer.from(secret, 'hex').toString('base64'));
  }
});
