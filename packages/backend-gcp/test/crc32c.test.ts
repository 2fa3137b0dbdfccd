import { expect, test } from 'vitest';
import { crc32c } from '../src/crc32c.js';

// RFC 3720 §B.4; the first is the check value of the catalogue of CRC algorithms.
test.each([
  ['the digits', Buffer.from('123456789'), 0xe3069283],
  ['32 zeros', Buffer.alloc(32), 0x8a9136aa],
  ['32 times 0xff', Buffer.alloc(32, 0xff), 0x62a8ab43],
  ['0 to 31', Buffer.from(Array.from({ length: 32 }, (_, index) => index)), 0x46dd794e],
  ['31 to 0', Buffer.from(Array.from({ length: 32 }, (_, index) => 31 - index)), 0x113fdb5c],
  ['nothing', Buffer.alloc(0), 0],
])('%s', (_what, bytes, expected) => {
  expect(crc32c(bytes)).toBe(expected);
});
