import { randomBytes } from 'node:crypto';
import { openBackend, type OpenedBackend } from '@sealwax/core/conformance';
import { isBackendError } from '@sealwax/core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Sealwax } from '../../src/sealwax.js';
import { startSoftHsm } from '../../src/pkcs11/softhsm-harness.js';
import { testDirectory } from '../../src/test-directory.js';
import { waitFor } from '../../src/wait-for.js';

/** Functions that the backend calls while it serves; the others it calls when it starts over. */
const serving = [
  'C_FindObjectsInit',
  'C_FindObjects',
  'C_FindObjectsFinal',
  'C_GetAttributeValue',
  'C_EncryptInit',
  'C_Encrypt',
  'C_DecryptInit',
  'C_Decrypt',
];
const starting = [
  'C_Initialize',
  'C_Finalize',
  'C_GetSlotList',
  'C_GetTokenInfo',
  'C_GetMechanismList',
  'C_OpenSession',
  'C_CloseSession',
  'C_CloseAllSessions',
  'C_Login',
  'C_Logout',
];
const isFull = process.env['SEALWAX_E2E_FULL'] === '1';
const faults = ['error 0x30', 'hang', 'abort', 'drop', ...(isFull ? ['error 0x5', 'error 0x90', 'segv'] : [])];
/** Every function in a state in which the backend climbs the ladder, and so calls it. */
const cells = [
  ...serving.flatMap((name) => faults.map((fault) => [`${name} ${fault}`])),
  ...starting.flatMap((name) =>
    ['error 0x5', 'hang', 'abort'].map((fault) => [`${name} ${fault}`, 'C_DecryptInit error 0x30']),
  ),
];
const recoveryMs = 20_000;
const patienceMs = 1_500;

let service: Awaited<ReturnType<typeof startSoftHsm>>;
let sealwax: Sealwax;
let opened: OpenedBackend;
/** Decrypts with a local key that the plugin holds, for as long as the tests run. */
let decrypts: { stop: () => Promise<{ readonly good: number; readonly bad: unknown[] }> };
beforeAll(async () => {
  const directory = await testDirectory('misbehaviour');
  service = await startSoftHsm(directory);
  service = { ...service, config: { ...service.config, callTimeoutSeconds: 0.5, openTimeoutSeconds: 3 } };
  const keys = [{ name: 'prod', backend: 'hsm', config: service.config }];
  sealwax = await Sealwax.configure(`${directory}/plugin`, { sections: { keys, limits: { remoteCallSeconds: 10 } } });
  await sealwax.start();
  await sealwax.untilOk();
  opened = await openBackend({ module: service.harness.module, config: service.config });
  decrypts = await decryptAllTheTime();
});
afterAll(async () => {
  await opened.end();
  await sealwax.stop();
  sealwax.client.close();
});

afterEach(() => service.softHsm.shim.behave());

async function decryptAllTheTime(): Promise<typeof decrypts> {
  const seed = randomBytes(32);
  const sealed = await sealwax.client.encrypt(seed);
  const bad: unknown[] = [];
  let good = 0;
  const stop = new AbortController();
  const work = (async () => {
    while (!stop.signal.aborted) {
      try {
        if (Buffer.from(await sealwax.client.decrypt(sealed)).equals(seed)) good += 1;
        else bad.push('another seed');
      } catch (error) {
        bad.push(error);
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  return {
    stop: async () => {
      stop.abort();
      await work;
      return { good, bad };
    },
  };
}

describe('each function × each fault: an error that is none of the ciphertext’s, and recovery by itself', () => {
  test.each(cells)('%s', async (...rules) => {
    const { backend } = opened;
    const { shim } = service.softHsm;
    const { signal } = new AbortController();
    const plaintext = randomBytes(32);
    const wrapped = await waitFor(() => backend.wrap(plaintext, signal), { what: 'a wrap', timeoutMs: recoveryMs });
    await shim.misbehave(...rules);
    // As a caller who does not wait for a module that hangs.
    const patience = AbortSignal.timeout(patienceMs);
    const outcome = await backend.unwrap(wrapped, patience).catch((error: unknown) => error);
    const current = await backend.currentKekId(patience).catch((error: unknown) => error);
    for (const answer of [outcome, current]) {
      if (!(answer instanceof Error)) continue;
      expect(isBackendError(answer) && answer.code, answer.message).toBe('unavailable');
    }
    if (outcome instanceof Uint8Array) expect(Buffer.compare(outcome, plaintext)).toBe(0);
    await shim.behave();
    const again = await waitFor(() => backend.unwrap(wrapped, signal), {
      what: 'the same instance to work again',
      timeoutMs: recoveryMs,
    });
    expect(Buffer.compare(again, plaintext)).toBe(0);
  });
});

test('a module that corrupts what it decrypts is not taken for a bad ciphertext', async () => {
  const { signal } = new AbortController();
  await opened.backend.wrap(randomBytes(32), signal);
  await service.softHsm.shim.misbehave('C_Decrypt corrupt');
  await expect(opened.backend.currentKekId(signal)).rejects.toMatchObject({ code: 'unavailable' });
  await service.softHsm.shim.behave();
  await waitFor(() => opened.backend.currentKekId(signal), { what: 'recovery', timeoutMs: recoveryMs });
});

test('a module that leaks is started anew at the limit, and no call fails for it', async () => {
  const leaking = await openBackend({
    module: service.harness.module,
    config: { ...service.config, callTimeoutSeconds: 5, openTimeoutSeconds: 10, memoryLimitMebibytes: 256 },
  });
  const { signal } = new AbortController();
  const wrapped = await leaking.backend.wrap(randomBytes(32), signal);
  await service.softHsm.shim.misbehave('C_DecryptInit leak 20');
  for (let call = 0; call < 20; call += 1) await leaking.backend.unwrap(wrapped, signal);
  await service.softHsm.shim.behave();
  const crashes = leaking.facts.flatMap((fact) =>
    fact.kind === 'gauge' && fact.name === 'hsm_process_crashes_total' ? [fact.value] : [],
  );
  expect(crashes.at(-1)).toBeGreaterThan(0);
  await leaking.end();
});

test('meanwhile every Decrypt with a local key was answered, and the plugin is well at the end', async () => {
  const { good, bad } = await decrypts.stop();
  expect(bad).toEqual([]);
  expect(good).toBeGreaterThan(100);
  expect(sealwax.isAlive).toBe(true);
  await sealwax.untilOk();
});
