import assert from 'node:assert/strict';
import { assertSame } from './stage.js';
import type { Rule } from './rule.js';

const AT_ONCE = 16;

/** What wrap and unwrap give when nothing is wrong. */
export const wrappingRules: readonly Rule[] = [
  {
    name: 'wrapping: unwrap gives back what was wrapped',
    async run(stage) {
      const { backend } = await stage.open();
      await stage.roundTrip(backend);
    },
  },
  {
    name: 'wrapping: every byte value survives, at every place',
    async run(stage) {
      const { backend } = await stage.open();
      for (let start = 0; start < 256; start += 32) {
        const plaintext = Uint8Array.from({ length: 32 }, (_, index) => start + index);
        await stage.unwrapsTo(backend, await stage.wrap(backend, plaintext), plaintext);
      }
      for (const byte of [0, 0xff]) {
        const plaintext = new Uint8Array(32).fill(byte);
        await stage.unwrapsTo(backend, await stage.wrap(backend, plaintext), plaintext);
      }
    },
  },
  {
    name: 'wrapping: a wrapped key shows nothing of its plaintext',
    async run(stage) {
      const { backend } = await stage.open();
      const plaintext = Buffer.from(stage.plaintext());
      const { kekId, ciphertext } = await stage.wrap(backend, plaintext);
      const shown = Buffer.concat([Buffer.from(kekId), ciphertext]);
      for (const form of [plaintext, plaintext.toString('hex'), plaintext.toString('base64')])
        assert.ok(!shown.includes(form), 'the wrapped key holds its plaintext');
    },
  },
  {
    name: 'wrapping: the same wrapped key unwraps again and again',
    async run(stage) {
      const { backend } = await stage.open();
      const plaintext = stage.plaintext();
      const wrapped = await stage.wrap(backend, plaintext);
      for (let time = 0; time < 3; time += 1) await stage.unwrapsTo(backend, wrapped, plaintext);
    },
  },
  {
    name: `wrapping: ${AT_ONCE} calls at once do not mix`,
    async run(stage) {
      const { backend } = await stage.open();
      const plaintexts = Array.from({ length: AT_ONCE }, () => stage.plaintext());
      const wrapped = await Promise.all(plaintexts.map((plaintext) => stage.wrap(backend, plaintext)));
      const [unwrapped] = await Promise.all([
        Promise.all(wrapped.map((one) => stage.unwrap(backend, one))),
        Promise.all(plaintexts.map((plaintext) => stage.wrap(backend, plaintext))),
        stage.kekId(backend),
      ]);
      for (const [index, plaintext] of plaintexts.entries()) {
        const answer = unwrapped[index] ?? new Uint8Array();
        assertSame(answer, plaintext, `call ${index} of ${AT_ONCE} at once got other bytes than it wrapped`);
      }
    },
  },
  {
    name: 'wrapping: another instance unwraps it',
    async run(stage) {
      const first = await stage.open();
      const plaintext = stage.plaintext();
      const wrapped = await stage.wrap(first.backend, plaintext);
      await stage.close(first);
      const second = await stage.open();
      await stage.unwrapsTo(second.backend, wrapped, plaintext);
    },
  },
];
