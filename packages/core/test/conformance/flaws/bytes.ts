import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { isBackendError } from '@sealwax/core';
import { toBase64 } from '../little-backend.js';
import type { Flaws } from './flaw.js';

const VIEW = 'buffers: a view into a larger buffer is taken for its own bytes only';
const CHANGED = "buffers: the caller's bytes are not changed";
const KEPT = "buffers: the caller's bytes are not kept";
const ANSWER = 'buffers: an answer is nobody else’s: it survives later calls, and may be overwritten';
const MIDDLE = 'tampering: a flipped bit in the middle is refused with invalid-ciphertext';
const ENDS = 'tampering: a flipped bit at either end is refused, and never makes another plaintext';
const CUT = 'tampering: a cut ciphertext is refused with invalid-ciphertext';
const ADDED = 'tampering: bytes added to a ciphertext are refused with invalid-ciphertext';
const GARBAGE = 'tampering: garbage is refused with invalid-ciphertext, not taken for an outage';
const HALVES = 'tampering: halves of two ciphertexts do not make one';
const OTHER_VERSION = 'rotation: a KEK id that names another version does not unwrap';
const REPLACED = 'rotation: what a replaced KEK wrapped is refused, and never makes another plaintext';
const ROUND_TRIP = 'wrapping: unwrap gives back what was wrapped';
const BYTE_VALUES = 'wrapping: every byte value survives, at every place';

const NONCE_LENGTH = 16;
/** Compiled in, as bad as that is. */
const COMPILED_IN_KEY = createHash('sha256').update('flawed').digest();

export const byteFlaws: Flaws = {
  'does not authenticate': {
    caughtBy: [MIDDLE, ENDS, HALVES],
    spoil: (good) => ({
      async wrap(plaintext, signal) {
        const nonce = randomBytes(NONCE_LENGTH);
        const cipher = createCipheriv('aes-256-ctr', COMPILED_IN_KEY, nonce);
        return {
          kekId: await good.currentKekId(signal),
          ciphertext: Buffer.concat([nonce, cipher.update(plaintext)]),
        };
      },
      async unwrap({ ciphertext }) {
        const decipher = createDecipheriv('aes-256-ctr', COMPILED_IN_KEY, ciphertext.subarray(0, NONCE_LENGTH));
        return decipher.update(ciphertext.subarray(NONCE_LENGTH));
      },
    }),
  },
  'unwraps to something else without an error': {
    caughtBy: [MIDDLE, ENDS, CUT, ADDED, GARBAGE, HALVES, OTHER_VERSION, REPLACED],
    spoil: (good) => ({
      unwrap: (wrapped, signal) =>
        good.unwrap(wrapped, signal).catch((error: unknown) => {
          if (!isBackendError(error) || error.code !== 'invalid-ciphertext') throw error;
          return createHash('sha256').update(wrapped.ciphertext).digest();
        }),
    }),
  },
  'unwraps what it finds at the start of the bytes': {
    caughtBy: [ADDED],
    spoil: (good) => ({
      unwrap: ({ kekId, ciphertext }, signal) => good.unwrap({ kekId, ciphertext: ciphertext.subarray(0, 60) }, signal),
    }),
  },
  'does not wrap at all': {
    caughtBy: ['wrapping: a wrapped key shows nothing of its plaintext', GARBAGE],
    spoil: (good) => ({
      wrap: async (plaintext, signal) => ({
        kekId: await good.currentKekId(signal),
        ciphertext: Uint8Array.from(plaintext),
      }),
      unwrap: async ({ ciphertext }) => Uint8Array.from(ciphertext),
    }),
  },
  'returns another key': {
    caughtBy: [ROUND_TRIP],
    spoil: (good) => ({
      unwrap: async (wrapped, signal) =>
        createHash('sha256')
          .update(await good.unwrap(wrapped, signal))
          .digest(),
    }),
  },
  'takes bytes for text': {
    caughtBy: [BYTE_VALUES, ROUND_TRIP],
    spoil: (good) => ({
      wrap: (plaintext, signal) => good.wrap(Buffer.from(Buffer.from(plaintext).toString('utf8')), signal),
    }),
  },
  'unwraps only once': {
    caughtBy: ['wrapping: the same wrapped key unwraps again and again'],
    spoil(good) {
      const used = new Set<string>();
      return {
        async unwrap(wrapped, signal) {
          const id = toBase64(wrapped.ciphertext);
          if (used.has(id)) return new Uint8Array(32);
          used.add(id);
          return good.unwrap(wrapped, signal);
        },
      };
    },
  },
  'mixes calls that run at once': {
    caughtBy: ['wrapping: 16 calls at once do not mix'],
    spoil(good) {
      let plaintextOfThisCall = new Uint8Array();
      return {
        async wrap(plaintext, signal) {
          plaintextOfThisCall = Uint8Array.from(plaintext);
          await good.currentKekId(signal);
          return good.wrap(plaintextOfThisCall, signal);
        },
      };
    },
  },
  'takes the whole buffer behind a view': {
    caughtBy: [VIEW],
    spoil: (good) => ({ wrap: (plaintext, signal) => good.wrap(new Uint8Array(plaintext.buffer), signal) }),
  },
  'takes the whole buffer behind a view of a ciphertext': {
    caughtBy: [VIEW],
    spoil: (good) => ({
      unwrap: ({ kekId, ciphertext }, signal) =>
        good.unwrap({ kekId, ciphertext: new Uint8Array(ciphertext.buffer) }, signal),
    }),
  },
  "overwrites the caller's plaintext": {
    caughtBy: [CHANGED, ROUND_TRIP],
    says: "wrap changed the caller's buffer",
    spoil: (good) => ({
      async wrap(plaintext, signal) {
        const wrapped = await good.wrap(plaintext, signal);
        plaintext.fill(0);
        return wrapped;
      },
    }),
  },
  "changes the caller's ciphertext": {
    caughtBy: [CHANGED],
    spoil: (good) => ({
      async unwrap(wrapped, signal) {
        const plaintext = await good.unwrap(wrapped, signal);
        wrapped.ciphertext.reverse();
        return plaintext;
      },
    }),
  },
  "keeps a view of the caller's plaintext": {
    caughtBy: [KEPT],
    spoil(good) {
      const kept = new Map<string, Uint8Array>();
      return {
        async wrap(plaintext, signal) {
          const wrapped = await good.wrap(plaintext, signal);
          kept.set(toBase64(wrapped.ciphertext), plaintext);
          return wrapped;
        },
        unwrap: async (wrapped, signal) =>
          Uint8Array.from(kept.get(toBase64(wrapped.ciphertext)) ?? (await good.unwrap(wrapped, signal))),
      };
    },
  },
  'answers unwrap with a view of a buffer that it uses again': {
    caughtBy: [ANSWER],
    spoil(good) {
      const buffer = new Uint8Array(64);
      return {
        async unwrap(wrapped, signal) {
          const plaintext = await good.unwrap(wrapped, signal);
          buffer.set(plaintext);
          return buffer.subarray(0, plaintext.length);
        },
      };
    },
  },
  'answers wrap with a view of a buffer that it uses again': {
    caughtBy: [ANSWER],
    spoil(good) {
      const buffer = new Uint8Array(2_048);
      return {
        async wrap(plaintext, signal) {
          const { kekId, ciphertext } = await good.wrap(plaintext, signal);
          buffer.set(ciphertext);
          return { kekId, ciphertext: buffer.subarray(0, ciphertext.length) };
        },
      };
    },
  },
  'hands out the plaintext that it keeps': {
    caughtBy: [ANSWER],
    spoil(good) {
      const kept = new Map<string, Uint8Array>();
      return {
        async unwrap(wrapped, signal) {
          const id = toBase64(wrapped.ciphertext);
          const plaintext = kept.get(id) ?? (await good.unwrap(wrapped, signal));
          kept.set(id, plaintext);
          return plaintext;
        },
      };
    },
  },
  'returns a ciphertext of 3 kB': {
    caughtBy: [ROUND_TRIP],
    spoil: (good) => ({
      wrap: async (plaintext, signal) => ({ ...(await good.wrap(plaintext, signal)), ciphertext: randomBytes(3_072) }),
    }),
  },
  'returns text instead of bytes': {
    caughtBy: [ROUND_TRIP],
    spoil: (good) => ({
      unwrap: async (wrapped, signal) => toBase64(await good.unwrap(wrapped, signal)) as unknown as Uint8Array,
    }),
  },
};
