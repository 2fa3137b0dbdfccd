import fc from 'fast-check';
import { expect, test } from 'vitest';
import { lengthPrefixed } from '../src/length-prefixed.js';
import { hex, utf8 } from './wire.js';

test('each part stands behind its length in bytes, as a 32-bit big-endian integer', () => {
  expect(hex(lengthPrefixed([utf8('ab'), new Uint8Array(), utf8('ü'), new Uint8Array(0x0102)]))).toBe(
    `0000000261620000000000000002c3bc00000102${'00'.repeat(0x0102)}`,
  );
  expect(lengthPrefixed([])).toHaveLength(0);
});

test('no two lists give the same bytes', () => {
  const lists = fc.array(fc.uint8Array({ maxLength: 6 }), { maxLength: 5 });
  fc.assert(
    fc.property(lists, lists, (list, other) => {
      const same = list.length === other.length && list.every((part, index) => hex(part) === hex(other[index]!));
      expect(hex(lengthPrefixed(list)) === hex(lengthPrefixed(other))).toBe(same);
    }),
  );
});

test('the lists can be read back', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 })), (list) => {
      let rest = Buffer.from(lengthPrefixed(list));
      const read: string[] = [];
      while (rest.length > 0) {
        const end = 4 + rest.readUInt32BE();
        read.push(hex(rest.subarray(4, end)));
        rest = rest.subarray(end);
      }
      expect(read).toEqual(list.map(hex));
    }),
  );
});
