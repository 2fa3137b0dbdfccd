import { connect } from 'node:net';
import { BackendError, isBackendError } from '@sealwax/core';
import { kekIdOf, toBase64 } from '../little-backend.js';
import type { Flaws } from './flaw.js';

const ALIAS = 'little/kek';
const ROTATION = 'rotation: the KEK id changes with the version, at once, and older versions still unwrap';
const RACE = 'rotation: wraps that race with it name the version that they used';
const SAME = 'kek id: wrap and currentKekId name the same version, the same each time and in each instance';
const FOREIGN = 'kek id: one that is not of this key is refused, and nobody else is asked';

/** A ciphertext that says by itself which version made it, as that of Vault does. */
const described = (version: string, ciphertext: Uint8Array) =>
  Uint8Array.from([version.length, ...Buffer.from(version), ...ciphertext]);
const versionOf = (ciphertext: Uint8Array) =>
  Buffer.from(ciphertext.subarray(1, 1 + (ciphertext[0] ?? 0))).toString('latin1');
const restOf = (ciphertext: Uint8Array) => ciphertext.subarray(1 + (ciphertext[0] ?? 0));

export const keyIdFlaws: Flaws = {
  'reports the alias instead of the version': {
    caughtBy: [ROTATION],
    spoil: (good) => ({
      currentKekId: async (signal) => (await good.currentKekId(signal), ALIAS),
      async wrap(plaintext, signal) {
        const { kekId, ciphertext } = await good.wrap(plaintext, signal);
        return { kekId: ALIAS, ciphertext: described(kekId.split('/').at(-1)!, ciphertext) };
      },
      unwrap: ({ ciphertext }, signal) =>
        good.unwrap({ kekId: kekIdOf(versionOf(ciphertext)), ciphertext: restOf(ciphertext) }, signal),
    }),
  },
  'reads the KEK id by a second call after the wrap': {
    caughtBy: [RACE],
    says: 'does not unwrap with that id: take the version from the answer of this very wrap',
    spoil: (good) => ({
      async wrap(plaintext, signal) {
        const { ciphertext } = await good.wrap(plaintext, signal);
        return { kekId: await good.currentKekId(signal), ciphertext };
      },
    }),
  },
  'reads the KEK id by a second call before the wrap': {
    caughtBy: [RACE],
    says: 'does not unwrap with that id: take the version from the answer of this very wrap',
    spoil: (good) => ({
      async wrap(plaintext, signal) {
        const kekId = await good.currentKekId(signal);
        return { kekId, ciphertext: (await good.wrap(plaintext, signal)).ciphertext };
      },
    }),
  },
  'reports a KEK id without its version after a 403': {
    caughtBy: ['kek id: is whole or an error during deny'],
    spoil: (good) => ({
      currentKekId: (signal) =>
        good.currentKekId(signal).catch((error: unknown) => {
          if (isBackendError(error) && error.code === 'permission-denied') return ALIAS;
          throw error;
        }),
    }),
  },
  'reports a KEK id of its own making while the key is disabled or the service is away': {
    caughtBy: ['kek id: is whole or an error during disable', 'kek id: is whole or an error during outage'],
    spoil: (good) => ({
      currentKekId: (signal) =>
        good.wrap(new Uint8Array(32), signal).then(
          ({ kekId }) => kekId,
          () => ALIAS,
        ),
    }),
  },
  'names the version that it saw first, and wraps with the current one': {
    caughtBy: [ROTATION],
    spoil(good) {
      let first: string | undefined;
      return {
        async wrap(plaintext, signal) {
          const { kekId, ciphertext } = await good.wrap(plaintext, signal);
          first ??= kekId;
          return { kekId: first, ciphertext };
        },
      };
    },
  },
  'names the current version, and wraps with the one that it saw first': {
    caughtBy: ['rotation: a destroyed version fails with key-not-found, and what the newer wrapped needs no other'],
    spoil(good) {
      let first: string | undefined;
      return {
        async wrap(plaintext, signal) {
          const { version } = await good.ask('read the current version', { operation: 'current' }, signal);
          first ??= version;
          const question = { operation: 'wrap', version: first, bytes: toBase64(plaintext) } as const;
          const { bytes } = await good.ask('wrap', question, signal);
          return { kekId: kekIdOf(version), ciphertext: described(first, bytes) };
        },
        async unwrap({ kekId, ciphertext }, signal) {
          if (!kekId.startsWith(`${ALIAS}/`)) throw new BackendError('invalid-ciphertext', 'little: unwrap: no');
          return good.unwrap({ kekId: kekIdOf(versionOf(ciphertext)), ciphertext: restOf(ciphertext) }, signal);
        },
      };
    },
  },
  'unwraps by what the ciphertext says, whatever the KEK id': {
    caughtBy: ['rotation: a KEK id that names another version does not unwrap', FOREIGN],
    spoil: (good) => ({
      async wrap(plaintext, signal) {
        const { kekId, ciphertext } = await good.wrap(plaintext, signal);
        return { kekId, ciphertext: described(kekId.split('/').at(-1)!, ciphertext) };
      },
      unwrap: ({ ciphertext }, signal) =>
        good.unwrap({ kekId: kekIdOf(versionOf(ciphertext)), ciphertext: restOf(ciphertext) }, signal),
    }),
  },
  'takes the last part of any KEK id for a version': {
    caughtBy: [FOREIGN],
    spoil: (good) => ({
      unwrap: ({ kekId, ciphertext }, signal) =>
        good.unwrap({ kekId: kekIdOf(kekId.split('/').at(-1)!), ciphertext }, signal),
    }),
  },
  'asks the host that the KEK id names': {
    caughtBy: [FOREIGN],
    spoil: (good) => ({
      async unwrap(wrapped, signal) {
        const port = /127\.0\.0\.1:(\d+)/.exec(wrapped.kekId)?.[1];
        if (port !== undefined) {
          const socket = connect({ host: '127.0.0.1', port: Number(port) });
          await new Promise((resolve) => socket.on('error', () => undefined).on('close', resolve));
        }
        return good.unwrap(wrapped, signal);
      },
    }),
  },
  'refuses a version that it has not seen': {
    caughtBy: ['rotation: a version that an instance has not seen yet unwraps'],
    spoil(good) {
      const seen = new Set<string>();
      const see = <T extends string>(kekId: T) => (seen.add(kekId), kekId);
      return {
        currentKekId: async (signal) => see(await good.currentKekId(signal)),
        async wrap(plaintext, signal) {
          const wrapped = await good.wrap(plaintext, signal);
          see(wrapped.kekId);
          return wrapped;
        },
        async unwrap(wrapped, signal) {
          if (!seen.has(wrapped.kekId)) throw new BackendError('key-not-found', 'little: unwrap: no such version');
          return good.unwrap(wrapped, signal);
        },
      };
    },
  },
  'reports a KEK id of 4 kB': {
    caughtBy: [SAME],
    spoil: (good) => ({ currentKekId: async (signal) => (await good.currentKekId(signal)).padEnd(4_096, 'x') }),
  },
  'reports a KEK id with a line break': {
    caughtBy: [SAME],
    spoil: (good) => ({ currentKekId: async (signal) => `${await good.currentKekId(signal)}\n` }),
  },
  'reports another KEK id each time': {
    caughtBy: [SAME],
    spoil(good) {
      let time = 0;
      return { currentKekId: async (signal) => `${await good.currentKekId(signal)}?${(time += 1)}` };
    },
  },
  'keeps the KEK id that it read first': {
    caughtBy: [ROTATION],
    spoil(good) {
      let kept: Promise<string> | undefined;
      return { currentKekId: (signal) => (kept ??= good.currentKekId(signal)) };
    },
  },
};
