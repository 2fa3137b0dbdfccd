import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import type { Backend, WrappedKey } from '@sealwax/core';
import type { LittleBackend } from '../little-backend.js';
import type { Flaws } from './flaw.js';

const AT_ONCE = (name: keyof Backend) => `signals: ${name} rejects at once when its signal has aborted before`;
const STALLED = (name: keyof Backend) =>
  `signals: ${name} rejects soon after its signal aborts while the service does not answer`;
const HANDLES = 'lifetime: close leaves no handle open';
const PROCESS_ENDS = 'lifetime: a process ends by itself once its backend is closed';
const OTHER_PROCESS = 'lifetime: another process unwraps what this one wrapped, and the other way round';
const OTHER_INSTANCE = 'wrapping: another instance unwraps it';
const COMES_BACK = 'lifetime: close comes back while a call gets no answer, and ends that call';

const never = (): AbortSignal => new AbortController().signal;

/** Wraps what the good backend wraps, under a mask besides. */
const masked = (good: LittleBackend, mask: Uint8Array): Partial<Backend> => {
  const apply = (bytes: Uint8Array) => bytes.map((byte, index) => byte ^ (mask[index % mask.length] ?? 0));
  const cover = ({ kekId, ciphertext }: WrappedKey): WrappedKey => ({ kekId, ciphertext: apply(ciphertext) });
  return {
    wrap: async (plaintext, signal) => cover(await good.wrap(plaintext, signal)),
    unwrap: (wrapped, signal) => good.unwrap(cover(wrapped), signal),
  };
};

const maskOfThisProcess = randomBytes(32);
let timerOfThisProcess: NodeJS.Timeout | undefined;
let inUse = 0;

export const lifetimeFlaws: Flaws = {
  'ignores its signal': {
    caughtBy: (['currentKekId', 'wrap', 'unwrap'] as const).flatMap((name) => [AT_ONCE(name), STALLED(name)]),
    spoil: (good) => ({
      currentKekId: () => good.currentKekId(never()),
      wrap: (plaintext) => good.wrap(plaintext, never()),
      unwrap: (wrapped) => good.unwrap(wrapped, never()),
    }),
  },
  'gives up every call when one is aborted': {
    caughtBy: ['signals: the abort of one call does not touch another'],
    spoil(good) {
      let all = new AbortController();
      return {
        wrap(plaintext, signal) {
          const shared = all;
          signal.addEventListener('abort', () => {
            shared.abort();
            all = new AbortController();
          });
          return good.wrap(plaintext, AbortSignal.any([signal, shared.signal]));
        },
      };
    },
  },
  'reports an expiry that is no date': {
    caughtBy: ['wrapping: another instance unwraps it'],
    says: 'host.report: credential-expiry: "at" must be a valid Date, or undefined',
    async open(good, host) {
      host.report({ kind: 'credential-expiry', at: new Date('never') });
      await good.currentKekId(host.signal);
    },
    spoil: () => ({}),
  },
  'leaves a connection open': {
    caughtBy: [HANDLES],
    says: 'something is open after close that was not before: ',
    spoil(_good, { config }) {
      connect(config.socket).on('error', () => undefined);
      return {};
    },
  },
  'leaves a timer running': {
    caughtBy: [HANDLES, PROCESS_ENDS],
    spoil() {
      setInterval(() => undefined, 60_000);
      return {};
    },
  },
  'leaves a timer running that all its instances share': {
    caughtBy: [PROCESS_ENDS],
    spoil() {
      timerOfThisProcess ??= setInterval(() => undefined, 60_000);
      return {};
    },
  },
  'leaves a rejection that nobody handles when a call is given up': {
    caughtBy: [PROCESS_ENDS],
    spoil: (good) => ({
      wrap(plaintext, signal) {
        const wrapping = good.wrap(plaintext, signal);
        void wrapping.then(() => undefined);
        return wrapping;
      },
    }),
  },
  'wraps what only the same instance unwraps': {
    caughtBy: [OTHER_INSTANCE, OTHER_PROCESS],
    spoil: (good) => masked(good, randomBytes(32)),
  },
  'wraps what only the same process unwraps': {
    caughtBy: [OTHER_PROCESS],
    spoil: (good) => masked(good, maskOfThisProcess),
  },
  'goes on after close': {
    caughtBy: ['lifetime: after close every call rejects'],
    spoil: () => ({ close: async () => undefined }),
  },
  'closes what another instance uses': {
    caughtBy: ['lifetime: closing one instance leaves another open'],
    spoil(good) {
      inUse += 1;
      return {
        wrap(plaintext, signal) {
          if (inUse === 0) throw new Error('closed');
          return good.wrap(plaintext, signal);
        },
        async close() {
          inUse = 0;
          await good.close();
        },
      };
    },
  },
  'waits in close for calls that get no answer': {
    caughtBy: [COMES_BACK],
    spoil(good) {
      const calls: Promise<unknown>[] = [];
      return {
        wrap(plaintext) {
          const call = good.wrap(plaintext, never());
          calls.push(call);
          return call;
        },
        async close() {
          await Promise.allSettled(calls);
          await good.close();
        },
      };
    },
  },
  'opens for ever': {
    caughtBy: ['lifetime: open rejects soon after Host.signal aborts while the service does not answer'],
    open: (good) => good.currentKekId(never()),
    spoil: () => ({}),
  },
};
