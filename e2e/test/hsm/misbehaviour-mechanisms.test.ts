import { randomBytes } from 'node:crypto';
import { isBackendError } from '@sealwax/core';
import { openBackend, type OpenedBackend } from '@sealwax/core/conformance';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startSoftHsm, type SoftHsmMechanism } from '../../src/pkcs11/softhsm-harness.js';
import { testDirectory } from '../../src/test-directory.js';
import { waitFor } from '../../src/wait-for.js';

/** What these mechanisms call and AES-GCM does not. */
const functions: Partial<Record<SoftHsmMechanism, readonly string[]>> = {
  'aes-cbc-hmac': ['C_SignInit', 'C_Sign'],
  'aes-key-wrap-pad': ['C_CreateObject', 'C_WrapKey', 'C_UnwrapKey', 'C_DestroyObject'],
};
const faults = ['error 0x30', 'hang', 'abort', 'drop'];
const recoveryMs = 20_000;
const patienceMs = 1_500;
const never: AbortSignal = new AbortController().signal;

describe.each(Object.entries(functions))('%s: each function × each fault', (mechanism, names) => {
  let service: Awaited<ReturnType<typeof startSoftHsm>>;
  let opened: OpenedBackend;
  beforeAll(async () => {
    service = await startSoftHsm(await testDirectory(`mb-${mechanism}`), mechanism as SoftHsmMechanism);
    const config = { ...service.config, callTimeoutSeconds: 0.5, openTimeoutSeconds: 3 };
    opened = await openBackend({ module: service.harness.module, config });
  });
  afterAll(() => opened.end());
  afterEach(() => service.softHsm.shim.behave());

  test.each(names.flatMap((name) => faults.map((fault) => `${name} ${fault}`)))(
    '%s: an error that is none of the ciphertext’s, and recovery by itself',
    async (rule) => {
      const { backend } = opened;
      const plaintext = randomBytes(32);
      const wrapped = await waitFor(() => backend.wrap(plaintext, never), { what: 'a wrap', timeoutMs: recoveryMs });
      await service.softHsm.shim.misbehave(rule);
      // As a caller who does not wait for a module that hangs.
      const patience = AbortSignal.timeout(patienceMs);
      const outcomes = [
        await backend.wrap(plaintext, patience).catch((error: unknown) => error),
        await backend.unwrap(wrapped, patience).catch((error: unknown) => error),
      ];
      for (const outcome of outcomes) {
        if (outcome instanceof Error)
          expect(isBackendError(outcome) && outcome.code, outcome.message).toBe('unavailable');
        if (outcome instanceof Uint8Array) expect(Buffer.compare(outcome, plaintext)).toBe(0);
      }
      await service.softHsm.shim.behave();
      const again = await waitFor(() => backend.unwrap(wrapped, never), {
        what: 'the same instance to work again',
        timeoutMs: recoveryMs,
      });
      expect(Buffer.compare(again, plaintext)).toBe(0);
    },
  );
});
