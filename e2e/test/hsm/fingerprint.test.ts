import { randomBytes } from 'node:crypto';
import type { Backend, WrappedKey } from '@sealwax/core';
import { openBackend } from '@sealwax/core/conformance';
import { afterAll, describe, expect, test } from 'vitest';
import { startSoftHsm } from '../../src/pkcs11/softhsm-harness.js';
import { testDirectory } from '../../src/test-directory.js';

const { signal } = new AbortController();

describe.each(['aes-gcm', 'aes-cbc-hmac'] as const)('%s', async (mechanism) => {
  const { harness, config, stop } = await startSoftHsm(await testDirectory(`fingerprint-${mechanism}`), mechanism);
  afterAll(stop);

  async function withBackend<T>(fingerprint: string, use: (backend: Backend) => Promise<T>): Promise<T> {
    const opened = await openBackend({ module: harness.module, config: { ...config, fingerprint } });
    try {
      return await use(opened.backend);
    } finally {
      await opened.end();
    }
  }
  const wrapUnder = (fingerprint: string, plaintext: Uint8Array) =>
    withBackend(fingerprint, (backend) => backend.wrap(plaintext, signal));

  test.each([
    ['auto', 'none'],
    ['none', 'auto'],
  ])('what was wrapped with fingerprint: %s opens with %s, and under its own KEK id only', async (before, after) => {
    const plaintext = randomBytes(32);
    const older = await wrapUnder(before, plaintext);
    await withBackend(after, async (backend) => {
      const newer = await backend.wrap(plaintext, signal);
      expect(newer.kekId).not.toBe(older.kekId);
      for (const wrapped of [older, newer, older])
        expect(Buffer.compare(await backend.unwrap(wrapped, signal), plaintext)).toBe(0);
      const foreign: readonly WrappedKey[] = [
        { ...older, kekId: newer.kekId },
        { ...newer, kekId: older.kekId },
        { ...older, kekId: newer.kekId.replace(/[^/]+$/, 'kcv:000000') },
        { ...older, kekId: older.kekId.replace('/0001/', '/0002/') },
        { ...older, kekId: older.kekId.replace('/kms/', '/other/') },
      ];
      for (const wrapped of foreign) {
        await expect(backend.unwrap(wrapped, signal), wrapped.kekId).rejects.toMatchObject({
          code: expect.stringMatching(/^(invalid-ciphertext|key-not-found)$/),
        });
      }
    });
  });
});
