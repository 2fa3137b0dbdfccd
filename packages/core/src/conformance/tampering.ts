import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { BackendErrorCode } from '../backend-error.js';
import type { WrappedKey } from '../backend.js';
import type { Rule } from './rule.js';
import type { Stage } from './stage.js';

/** Near its ends a ciphertext may name a key or a version: a flip there may lead to one that is missing or not ours. */
const REFUSED: readonly BackendErrorCode[] = ['invalid-ciphertext', 'key-not-found', 'permission-denied'];
const INVALID: readonly BackendErrorCode[] = ['invalid-ciphertext'];
const FLIPS = 8;

/** Bytes that nobody's KMS made, or that somebody changed. */
export const tamperingRules: readonly Rule[] = [
  {
    name: 'tampering: a flipped bit in the middle is refused with invalid-ciphertext',
    async run(stage) {
      await refuses(stage, INVALID, ({ ciphertext }) => {
        const third = Math.floor(ciphertext.length / 3);
        return Array.from({ length: FLIPS }, (_, index) => {
          const at = third + Math.floor((index * third) / FLIPS);
          return [`bit ${index} of byte ${at} flipped`, flip(ciphertext, at, index % 8)];
        });
      });
    },
  },
  {
    name: 'tampering: a flipped bit at either end is refused, and never makes another plaintext',
    async run(stage) {
      const { backend } = await stage.open();
      const plaintext = stage.plaintext();
      const wrapped = await stage.wrap(backend, plaintext);
      const last = wrapped.ciphertext.length - 1;
      for (const at of [0, 1, 2, last - 2, last - 1, last]) {
        const what = `unwrap with bit 0 of byte ${at} flipped`;
        const ciphertext = flip(wrapped.ciphertext, at, 0);
        const attempt = stage.unwrap(backend, { ...wrapped, ciphertext });
        // The last bits of a text in base64 may mean nothing: then the plaintext is the right one.
        const right = await attempt.then(
          (answer) => Buffer.compare(answer, plaintext) === 0,
          () => undefined,
        );
        assert.ok(right !== false, `${what}: returned another plaintext`);
        if (right === undefined) await stage.failureOf(what, () => attempt, REFUSED);
      }
    },
  },
  {
    name: 'tampering: a cut ciphertext is refused with invalid-ciphertext',
    async run(stage) {
      await refuses(stage, INVALID, ({ ciphertext }) => {
        const lengths = [0, 1, 16, ciphertext.length >> 1, ciphertext.length - 16, ciphertext.length - 1];
        return [...new Set(lengths)]
          .filter((length) => length >= 0 && length < ciphertext.length)
          .map((length) => [`cut to ${length} bytes`, Uint8Array.from(ciphertext.subarray(0, length))]);
      });
    },
  },
  {
    name: 'tampering: bytes added to a ciphertext are refused with invalid-ciphertext',
    async run(stage) {
      await refuses(stage, INVALID, ({ ciphertext }) => [
        ['a byte appended', Uint8Array.from([...ciphertext, 0])],
        ['16 bytes appended', Uint8Array.from([...ciphertext, ...randomBytes(16)])],
        ['twice the ciphertext', Uint8Array.from([...ciphertext, ...ciphertext])],
      ]);
    },
  },
  {
    name: 'tampering: garbage is refused with invalid-ciphertext, not taken for an outage',
    async run(stage) {
      await refuses(stage, INVALID, ({ ciphertext }) => [
        ['as many random bytes', Uint8Array.from(randomBytes(ciphertext.length))],
        ['as many zeros', new Uint8Array(ciphertext.length)],
        ['one random byte', Uint8Array.from(randomBytes(1))],
        ['2048 random bytes', Uint8Array.from(randomBytes(2_048))],
        ['a text', Uint8Array.from(Buffer.from('{"ciphertext":"bm8="}'))],
      ]);
    },
  },
  {
    name: 'tampering: halves of two ciphertexts do not make one',
    async run(stage) {
      const { backend } = await stage.open();
      const [one, other] = [await stage.roundTrip(backend), await stage.roundTrip(backend)];
      const half = one.ciphertext.length >> 1;
      const ciphertext = Uint8Array.from([...one.ciphertext.subarray(0, half), ...other.ciphertext.subarray(half)]);
      const what = 'unwrap of the first half of one ciphertext and the second half of another';
      await stage.failureOf(what, (signal) => backend.unwrap({ kekId: one.kekId, ciphertext }, signal), INVALID);
    },
  },
];

/** Each of the bytes that `spoil` makes of a good ciphertext must be refused, and the good one must still unwrap. */
async function refuses(
  stage: Stage,
  codes: readonly BackendErrorCode[],
  spoil: (wrapped: WrappedKey) => readonly (readonly [how: string, ciphertext: Uint8Array])[],
): Promise<void> {
  const { backend } = await stage.open();
  const plaintext = stage.plaintext();
  const wrapped = await stage.wrap(backend, plaintext);
  for (const [how, ciphertext] of spoil(wrapped)) {
    const spoiled = { kekId: wrapped.kekId, ciphertext };
    await stage.failureOf(`unwrap with ${how}`, (signal) => backend.unwrap(spoiled, signal), codes);
  }
  await stage.unwrapsTo(backend, wrapped, plaintext);
}

function flip(bytes: Uint8Array, at: number, bit: number): Uint8Array {
  return Uint8Array.from(bytes, (byte, index) => (index === at ? byte ^ (1 << bit) : byte));
}
