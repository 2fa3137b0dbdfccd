import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { ANNOTATION_NAME, MAX_SEED_LENGTH } from '../src/envelope.js';
import { KMS_CODE_OF } from '../src/kms-error.js';
import { MemoryKms, stall } from './memory-backend.js';
import { openQuietRing, openReadyRing, openRing, patience } from './open-ring.js';
import { until } from './until.js';
import { hex } from './wire.js';

const SEED = new Uint8Array(32).fill(42);

describe('Encrypt', () => {
  test('keeps to the API server’s limits on ciphertext, key id and annotations', async () => {
    const { service } = await openQuietRing(new MemoryKms());
    for (const length of [1, 32, MAX_SEED_LENGTH]) {
      const { ciphertext, keyId, annotations } = service.encrypt(new Uint8Array(length));
      expect(ciphertext.length).toBe(29 + length);
      expect(ciphertext.length).toBeLessThanOrEqual(1_024);
      expect(Buffer.byteLength(keyId)).toBeLessThanOrEqual(1_024);
      expect([...annotations.keys()]).toEqual([ANNOTATION_NAME]);
    }
    // At least two DNS labels and no slash.
    expect(ANNOTATION_NAME).toMatch(/^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]*[a-z0-9])?$/);
  });

  test('of the 32 bytes that the API server sends answers 61', async () => {
    const { service } = await openQuietRing(new MemoryKms());
    const { ciphertext } = service.encrypt(SEED);
    expect(ciphertext).toHaveLength(61);
    expect(ciphertext[0]).toBe(1);
  });

  test.each([0, MAX_SEED_LENGTH + 1])(
    'of %i bytes is INVALID_ARGUMENT, whether or not it could seal',
    async (length) => {
      const kms = new MemoryKms();
      const { service } = await openQuietRing(kms);
      kms.before.open = stall;
      for (const one of [service, openRing(kms).service]) {
        expect(() => one.encrypt(new Uint8Array(length))).toThrow(
          expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
        );
      }
    },
  );

  test('leaves the seed as it was', async () => {
    const { service } = await openQuietRing(new MemoryKms());
    const seed = Uint8Array.from(SEED);
    service.encrypt(seed);
    expect(hex(seed)).toBe(hex(SEED));
  });
});

describe('Decrypt', () => {
  test('opens what Encrypt answered, of every length', async () => {
    const { service } = await openQuietRing(new MemoryKms());
    for (const length of [1, 2, 31, 32, 33, 512, MAX_SEED_LENGTH]) {
      const seed = new Uint8Array(length).fill(length);
      expect(hex(await service.decrypt(service.encrypt(seed), patience))).toBe(hex(seed));
    }
  });

  test('gives a seed in a buffer of its own', async () => {
    const { service } = await openQuietRing(new MemoryKms());
    const sealed = service.encrypt(SEED);
    (await service.decrypt(sealed, patience)).fill(0);
    expect(hex(await service.decrypt(sealed, patience))).toBe(hex(SEED));
  });

  test('takes the seed of a known local key also from a caller that gave up', async () => {
    const { service } = await openQuietRing(new MemoryKms());
    expect(hex(await service.decrypt(service.encrypt(SEED), { signal: AbortSignal.abort() }))).toBe(hex(SEED));
  });
});

describe('Status', () => {
  test('is v2, ok and the key id of Encrypt', async () => {
    const { service } = await openQuietRing(new MemoryKms());
    expect(service.status()).toEqual({ version: 'v2', healthz: 'ok', keyId: service.encrypt(SEED).keyId });
  });

  test('never fails: not before the first local key, not in an outage, not after close', async () => {
    const kms = new MemoryKms();
    kms.before.open = stall;
    const { service, ring } = openRing(kms);
    expect(service.status().version).toBe('v2');
    await ring.close();
    expect(service.status().version).toBe('v2');
  });
});

describe('the pause that a new key id waits for', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['performance'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  const rule = { publish: { quietMs: 5, latestMs: 1_000_000 } };

  test('is broken by Status', async () => {
    const kms = new MemoryKms();
    const { service, ring } = await openReadyRing(kms, rule);
    const { keyId } = service.status();
    kms.rotate();
    await until(() => ring.heldLocalKeys === 2);
    for (let polls = 0; polls < 10; polls += 1) {
      vi.advanceTimersByTime(4);
      expect(service.status().keyId).toBe(keyId);
    }
    vi.advanceTimersByTime(5);
    await until(() => service.health().keyId !== keyId);
  });

  test('is not broken by those who ask for health and are not the API server', async () => {
    const kms = new MemoryKms();
    const { service } = await openReadyRing(kms, rule);
    const { keyId } = service.status();
    kms.rotate();
    await until(() => {
      vi.advanceTimersByTime(1);
      return service.health().keyId !== keyId;
    });
  });
});

test('each code of a backend’s failure has a gRPC code', () => {
  expect(Object.keys(KMS_CODE_OF)).toHaveLength(8);
});
