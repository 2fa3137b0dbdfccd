/** A backend that is right but for the fault that its config names; `test/faulty-backend.test.ts` loads it by its path. */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const KEY = Buffer.alloc(32, 7);
const never = () => new Promise(() => undefined);
const REFUSAL = { name: 'BackendError', code: 'permission-denied' };
const refused = () => Promise.reject(Object.assign(new Error('refused'), REFUSAL));
/** One buffer for all answers. */
const shared = new Uint8Array(32);

function right() {
  return {
    currentKekId: async () => 'faulty/1',
    async wrap(plaintext) {
      const nonce = randomBytes(12);
      const cipher = createCipheriv('aes-256-gcm', KEY, nonce);
      const sealed = [nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()];
      return { kekId: 'faulty/1', ciphertext: Uint8Array.from(Buffer.concat(sealed)) };
    },
    async unwrap({ ciphertext }) {
      const decipher = createDecipheriv('aes-256-gcm', KEY, ciphertext.subarray(0, 12));
      decipher.setAuthTag(ciphertext.subarray(-16));
      return Uint8Array.from(Buffer.concat([decipher.update(ciphertext.subarray(12, -16)), decipher.final()]));
    },
    close: async () => undefined,
  };
}

/** What each fault puts in the place of a method; `good` is the right backend. */
const faults = {
  none: () => ({}),
  'hangs in wrap': () => ({ wrap: never }),
  'hangs in unwrap': () => ({ unwrap: never }),
  'hangs in currentKekId': () => ({ currentKekId: never }),
  'hangs in close': () => ({ close: never }),
  'throws in close': () => ({
    close() {
      throw new Error('close throws');
    },
  }),
  'throws a string': () => ({
    wrap() {
      throw 'a string';
    },
  }),
  'rejects with undefined': () => ({ wrap: () => Promise.reject() }),
  'wraps to nothing': () => ({ wrap: async () => undefined }),
  'unwraps to a short buffer': (good) => ({ unwrap: async (wrapped) => (await good.unwrap(wrapped)).subarray(0, 16) }),
  'unwraps to a string': () => ({ unwrap: async () => 'x'.repeat(32) }),
  'unwraps to another key': () => ({ unwrap: async () => new Uint8Array(32).fill(1) }),
  'overwrites what it unwrapped': (good) => ({
    async unwrap(wrapped) {
      shared.set(await good.unwrap(wrapped));
      setImmediate(() => shared.fill(0xff));
      return shared;
    },
  }),
  'has a KEK id of 4 kB': (good) => ({
    currentKekId: async () => 'k'.repeat(4096),
    wrap: async (plaintext) => ({ ...(await good.wrap(plaintext)), kekId: 'k'.repeat(4096) }),
  }),
  'has a KEK id with control characters': () => ({ currentKekId: async () => 'kek\n\u001b[31m' }),
  'wraps to 1 MB': () => ({ wrap: async () => ({ kekId: 'faulty/1', ciphertext: new Uint8Array(1024 * 1024) }) }),
  'rejects long after its signal': () => ({
    async wrap(_plaintext, signal) {
      await sleep(60_000, undefined, { signal }).catch(() => sleep(50));
      throw new Error('too late');
    },
  }),
  'lets a rejection go': () => ({
    async currentKekId() {
      void Promise.reject(new Error('let go'));
      return 'faulty/1';
    },
  }),
  'is refused while a file is there': (good, { file }) =>
    Object.fromEntries(
      ['currentKekId', 'wrap', 'unwrap'].map((name) => [
        name,
        (...given) => (existsSync(file) ? refused() : good[name](...given)),
      ]),
    ),
  'lets a string go': () => ({
    async currentKekId() {
      void Promise.reject('let go');
      return 'faulty/1';
    },
  }),
};

export const backend = {
  apiVersion: 1,
  config: { '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) } },
  async open({ fault, ...config }, host) {
    const { expires, gauge, advice } = config;
    if (expires !== undefined) host.report({ kind: 'credential-expiry', at: new Date(expires) });
    if (gauge !== undefined) host.report({ kind: 'gauge', name: 'figure', value: gauge });
    if (advice !== undefined) host.report({ kind: 'advice', text: advice });
    if (fault === 'hangs in open') return never();
    if (fault === 'opens to nothing') return undefined;
    const good = right();
    return { ...good, ...faults[fault](good, config) };
  },
};
