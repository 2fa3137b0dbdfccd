import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { assertSame } from './stage.js';
import type { Rule } from './rule.js';

const MARGIN = 40;

/** `bytes` in the middle of a larger buffer full of other bytes. */
function inLarger(bytes: Uint8Array): { readonly larger: Uint8Array; readonly view: Uint8Array } {
  const larger = new Uint8Array(MARGIN + bytes.length + MARGIN);
  larger.set(randomBytes(larger.length));
  larger.set(bytes, MARGIN);
  return { larger, view: larger.subarray(MARGIN, MARGIN + bytes.length) };
}

/** Whose memory is whose. */
export const bufferRules: readonly Rule[] = [
  {
    name: 'buffers: a view into a larger buffer is taken for its own bytes only',
    async run(stage) {
      const { backend } = await stage.open();
      const plaintext = stage.plaintext();
      const { kekId, ciphertext } = await stage.wrap(backend, inLarger(plaintext).view);
      await stage.unwrapsTo(backend, { kekId, ciphertext: inLarger(ciphertext).view }, plaintext);
    },
  },
  {
    name: "buffers: the caller's bytes are not changed",
    async run(stage) {
      const { backend } = await stage.open();
      const plaintext = inLarger(stage.plaintext());
      const before = Uint8Array.from(plaintext.larger);
      const wrapped = await stage.wrap(backend, plaintext.view);
      assertSame(plaintext.larger, before, "wrap changed the caller's buffer");
      const ciphertext = inLarger(wrapped.ciphertext);
      const wrappedBefore = Uint8Array.from(ciphertext.larger);
      await stage.unwrap(backend, { kekId: wrapped.kekId, ciphertext: ciphertext.view });
      assertSame(ciphertext.larger, wrappedBefore, "unwrap changed the caller's buffer");
    },
  },
  {
    name: "buffers: the caller's bytes are not kept",
    async run(stage) {
      const { backend } = await stage.open();
      const plaintext = stage.plaintext();
      const lent = Uint8Array.from(plaintext);
      const { kekId, ciphertext } = await stage.wrap(backend, lent);
      lent.fill(0);
      const stored = Uint8Array.from(ciphertext);
      assertSame(ciphertext, stored, "the ciphertext changed with the caller's buffer");
      const lentCiphertext = Uint8Array.from(stored);
      const unwrapped = await stage.unwrap(backend, { kekId, ciphertext: lentCiphertext });
      assertSame(unwrapped, plaintext, "wrap kept the caller's buffer: what it wrapped changed with it");
      lentCiphertext.fill(0);
      assertSame(unwrapped, plaintext, "the plaintext changed with the caller's ciphertext");
    },
  },
  {
    name: 'buffers: an answer is nobody else’s: it survives later calls, and may be overwritten',
    async run(stage) {
      const { backend } = await stage.open();
      const plaintexts = [stage.plaintext(), stage.plaintext(), stage.plaintext()];
      const wrapped = [];
      for (const plaintext of plaintexts) wrapped.push(await stage.wrap(backend, plaintext));
      const stored = wrapped.map(({ kekId, ciphertext }) => ({ kekId, ciphertext: Uint8Array.from(ciphertext) }));
      const unwrapped = [];
      for (const one of stored) unwrapped.push(await stage.unwrap(backend, one));
      for (const [index, plaintext] of plaintexts.entries()) {
        const answer = unwrapped[index];
        assert.ok(answer !== undefined);
        assertSame(answer, plaintext, 'an answer changed with a later call: a buffer is used twice');
      }
      // Core overwrites what it got: that must hurt nobody.
      for (const { ciphertext } of wrapped) ciphertext.fill(0);
      for (const answer of unwrapped) answer.fill(0);
      for (const [index, one] of stored.entries())
        await stage.unwrapsTo(backend, one, plaintexts[index] ?? new Uint8Array());
    },
  },
];
