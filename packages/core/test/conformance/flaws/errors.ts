import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { BackendError, isBackendError, type Backend, type BackendErrorCode } from '@sealwax/core';
import { LittleBackend, toBase64 } from '../little-backend.js';
import type { Flaws } from './flaw.js';

const during = (fault: string, code: BackendErrorCode) =>
  `faults: during ${fault} every call fails with ${code}, and the same instance works again afterwards`;
const openedDuring = (fault: string, code: BackendErrorCode) => `faults: opened during ${fault}, it fails with ${code}`;
const SHAPE = 'messages: an error is a BackendError by its shape, in one line';
const SECRETS = 'messages: no error and no report shows a secret or a plaintext';
const GARBAGE = 'tampering: garbage is refused with invalid-ciphertext, not taken for an outage';
const CUT = 'tampering: a cut ciphertext is refused with invalid-ciphertext';
const NEVER_CREATED = 'faults: a missing key is never created';
const STRANGER =
  'faults: what a stranger answers in place of the service is unavailable or internal, never a refusal or a loss';

/** Every failure as `change` makes it. */
function failing(good: LittleBackend, change: (error: BackendError, wrapping?: Uint8Array) => unknown): Backend {
  const rethrow = (wrapping?: Uint8Array) => (error: unknown) => {
    throw isBackendError(error) ? change(error, wrapping) : error;
  };
  return {
    currentKekId: (signal) => good.currentKekId(signal).catch(rethrow()),
    wrap: (plaintext, signal) => good.wrap(plaintext, signal).catch(rethrow(plaintext)),
    unwrap: (wrapped, signal) => good.unwrap(wrapped, signal).catch(rethrow()),
    close: () => good.close(),
  };
}

const recoded = (from: readonly BackendErrorCode[], to: BackendErrorCode) => (good: LittleBackend) =>
  failing(good, (error) => (from.includes(error.code) ? new BackendError(to, error.message) : error));

/** Whatever answers with `status`, as if it were the service. */
const byStatus = (status: number, code: BackendErrorCode) => (good: LittleBackend) =>
  failing(good, (error) => {
    const answered = Object(error.cause) as { readonly status?: unknown };
    return answered.status === status ? new BackendError(code, error.message) : error;
  });

class ServiceError extends Error {
  override readonly name = 'ServiceError';
  readonly code = 'invalid-ciphertext';
}

const OUTAGE = during('outage', 'unavailable');
const THROTTLE = during('throttle', 'throttled');
const EXPIRED = during('expireCredential', 'unauthenticated');
const DENIED = during('deny', 'permission-denied');
const DISABLED = during('disable', 'key-disabled');
const MISSING = during('deleteKey', 'key-not-found');

export const errorFlaws: Flaws = {
  'has one code for outage, refusal and bad login': {
    caughtBy: [THROTTLE, EXPIRED, DENIED, DISABLED, MISSING],
    spoil: recoded(
      ['throttled', 'unauthenticated', 'permission-denied', 'key-disabled', 'key-not-found'],
      'unavailable',
    ),
  },
  'takes an outage and a bad login for a refusal': {
    caughtBy: [OUTAGE, EXPIRED],
    spoil: recoded(['unavailable', 'unauthenticated'], 'permission-denied'),
  },
  'takes any 403 for a refusal': { caughtBy: [STRANGER], spoil: byStatus(403, 'permission-denied') },
  'takes any 404 for a lost key': { caughtBy: [STRANGER], spoil: byStatus(404, 'key-not-found') },
  'takes garbage for an outage': { caughtBy: [GARBAGE, CUT], spoil: recoded(['invalid-ciphertext'], 'unavailable') },
  'throws plain errors': {
    caughtBy: [SHAPE],
    spoil: (good) => failing(good, ({ message }) => new Error(message)),
  },
  'throws errors of a class of its own': {
    caughtBy: [SHAPE],
    spoil: (good) => failing(good, ({ message }) => new ServiceError(message)),
  },
  'throws errors with a code of its own': {
    caughtBy: [SHAPE],
    spoil: (good) => failing(good, (error) => Object.assign(error, { code: 'decryption-failed' })),
  },
  'throws a text': { caughtBy: [SHAPE], spoil: (good) => failing(good, ({ message }) => message) },
  'passes on a message of many lines': {
    caughtBy: [SHAPE],
    spoil: (good) => failing(good, ({ code }) => new BackendError(code, '1 error occurred:\n\t* failed\n\n')),
  },
  'shows its token in a message': {
    caughtBy: [SECRETS, EXPIRED],
    spoil: (good, { config }) =>
      failing(good, (error) => {
        if (error.code !== 'unauthenticated') return error;
        return new BackendError(error.code, `little: wrap: bad token ${readFileSync(config.tokenFile, 'utf8')}`);
      }),
  },
  'shows its token in a stack': {
    caughtBy: [SECRETS, EXPIRED],
    spoil: (good, { config }) =>
      failing(good, (error) => {
        if (error.code !== 'unauthenticated') return error;
        const token = readFileSync(config.tokenFile, 'utf8');
        return Object.assign(error, { stack: `${error.message}: ${token}\n${error.stack ?? ''}` });
      }),
  },
  'shows its request in a property of the error': {
    caughtBy: [SECRETS, DENIED],
    spoil: (good, { config }) =>
      failing(good, (error) => {
        if (error.code !== 'permission-denied') return error;
        return Object.assign(error, { request: `authorization: ${readFileSync(config.tokenFile, 'utf8')}` });
      }),
  },
  'shows the plaintext in a message': {
    caughtBy: [SECRETS, THROTTLE],
    spoil: (good) =>
      failing(good, (error, wrapping) =>
        wrapping === undefined ? error : new BackendError(error.code, `little: wrap of ${toBase64(wrapping)}: failed`),
      ),
  },
  'reports its token': {
    caughtBy: [SECRETS],
    spoil(_good, { host, config }) {
      host.report({ kind: 'advice', text: `renew the token ${readFileSync(config.tokenFile, 'utf8')}` });
      return {};
    },
  },
  'creates a missing key': {
    caughtBy: [NEVER_CREATED, MISSING],
    spoil: (good) => ({
      async wrap(plaintext, signal) {
        const question = { operation: 'wrap', create: true, bytes: toBase64(plaintext) } as const;
        const { version, bytes } = await good.ask('wrap', question, signal);
        return { kekId: `little/kek/${version}`, ciphertext: bytes };
      },
    }),
  },
  'creates a missing key when it is opened': {
    caughtBy: [NEVER_CREATED, openedDuring('deleteKey', 'key-not-found')],
    open: (good, { signal }) => good.ask('open', { operation: 'current', create: true }, signal),
    spoil: () => ({}),
  },
  'has one code for whatever happens while it is opened': {
    caughtBy: [
      openedDuring('throttle', 'throttled'),
      openedDuring('expireCredential', 'unauthenticated'),
      openedDuring('deny', 'permission-denied'),
      openedDuring('deleteKey', 'key-not-found'),
    ],
    open: (good, { signal }) =>
      good.currentKekId(signal).catch(() => {
        throw new BackendError('unavailable', 'little: open: failed');
      }),
    spoil: () => ({}),
  },
  'takes whatever happens while it is opened for a defect': {
    caughtBy: [openedDuring('outage', 'unavailable'), openedDuring('disable', 'key-disabled')],
    open: (good, { signal }) =>
      good.wrap(new Uint8Array(32), signal).catch(() => {
        throw new BackendError('internal', 'little: open: failed');
      }),
    spoil: () => ({}),
  },
  'asks for a pause in text': {
    caughtBy: [THROTTLE],
    says: "retryAfterMs must be a finite number of milliseconds, 0 or more, or undefined; is '1500'",
    spoil: (good) =>
      failing(good, (error) =>
        error.retryAfterMs === undefined ? error : Object.assign(error, { retryAfterMs: String(error.retryAfterMs) }),
      ),
  },
  'hides that it is throttled behind a few retries': {
    caughtBy: [THROTTLE],
    spoil: (good) => ({
      async wrap(plaintext, signal) {
        for (let attempt = 0; attempt < 4; attempt += 1) {
          try {
            return await good.wrap(plaintext, signal);
          } catch (error) {
            if (!isBackendError(error) || error.code !== 'throttled') throw error;
            await sleep(20);
          }
        }
        throw new BackendError('unavailable', 'little: wrap: 4 attempts failed');
      },
    }),
  },
  'retries for as long as it is throttled': {
    caughtBy: [THROTTLE],
    spoil: (good) => ({
      async unwrap(wrapped, signal) {
        for (;;) {
          try {
            return await good.unwrap(wrapped, signal);
          } catch (error) {
            if (!isBackendError(error) || error.code !== 'throttled') throw error;
            await sleep(20, undefined, { signal });
          }
        }
      },
    }),
  },
  'answers from a cache while the key is disabled': {
    caughtBy: [OUTAGE, EXPIRED, DENIED, DISABLED, MISSING],
    spoil(good) {
      const kept = new Map<string, Uint8Array>();
      return {
        async unwrap(wrapped, signal) {
          const id = `${wrapped.kekId} ${toBase64(wrapped.ciphertext)}`;
          const plaintext = kept.get(id) ?? (await good.unwrap(wrapped, signal));
          kept.set(id, Uint8Array.from(plaintext));
          return Uint8Array.from(plaintext);
        },
      };
    },
  },
  'keeps the token that it read first': {
    caughtBy: [EXPIRED],
    spoil(_good, { host, config }) {
      const file = host.secretFile(config.tokenFile);
      let kept: Promise<Uint8Array> | undefined;
      const once = { ...file, read: async () => Uint8Array.from(await (kept ??= file.read())) };
      const keeping = new LittleBackend(config, { ...host, secretFile: () => once });
      return {
        currentKekId: (signal) => keeping.currentKekId(signal),
        wrap: (plaintext, signal) => keeping.wrap(plaintext, signal),
        unwrap: (wrapped, signal) => keeping.unwrap(wrapped, signal),
      };
    },
  },
  'never works again after its login was rejected': {
    caughtBy: [EXPIRED],
    spoil(good) {
      let dead: BackendError | undefined;
      return {
        async wrap(plaintext, signal) {
          if (dead !== undefined) throw dead;
          try {
            return await good.wrap(plaintext, signal);
          } catch (error) {
            if (isBackendError(error) && error.code === 'unauthenticated') dead = error;
            throw error;
          }
        },
      };
    },
  },
};
