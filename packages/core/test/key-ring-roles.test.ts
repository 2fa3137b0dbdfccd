import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { BackendError } from '../src/backend-error.js';
import { type EnvelopeParts } from '../src/envelope.js';
import type { Key } from '../src/key.js';
import { KmsError } from '../src/kms-error.js';
import { decodeEnvelope } from './decode-envelope.js';
import { MemoryKms, rejectWith, stall } from './memory-backend.js';
import { CLUSTER, memoryKey, ONE_TURN_MS, openQuietRing, openReadyRing, openRing, patience } from './open-ring.js';
import { until } from './until.js';
import { hex } from './wire.js';

const SEED = new Uint8Array(32).fill(42);
const DOWN = rejectWith(new BackendError('unavailable', 'memory: down'));

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

const recordNames = (parts: EnvelopeParts) => decodeEnvelope(parts, CLUSTER).records.map(({ keyName }) => keyName);

function takeDown(kms: MemoryKms): void {
  for (const operation of ['open', 'currentKekId', 'wrap', 'unwrap'] as const) kms.before[operation] = DOWN;
}

/** Two KMS; `a` writes, `b` recovers. */
function pair(changeB: Partial<Key> = {}) {
  const a = new MemoryKms();
  const b = new MemoryKms();
  return { a, b, keys: [memoryKey(a, 'a'), memoryKey(b, 'b', { role: 'recover', ...changeB })] };
}

async function opens(parts: EnvelopeParts, keys: readonly Key[]): Promise<string> {
  const { service } = openRing(new MemoryKms(), { keys });
  return service.decrypt(parts, patience).then(hex, (error: unknown) => (error instanceof KmsError ? error.code : ''));
}

describe('a write and a recover key', () => {
  test('both wrap each local key: either opens it when the other is gone', async () => {
    const { a, b, keys } = pair();
    const { service } = await openQuietRing(a, { keys });
    const parts = service.encrypt(SEED);
    expect(recordNames(parts)).toEqual(['a', 'b']);
    expect(parts.keyId).toMatch(/^a:/);
    expect(await opens(parts, [memoryKey(a, 'a')])).toBe(hex(SEED));
    expect(await opens(parts, [memoryKey(b, 'b')])).toBe(hex(SEED));
  });

  test('one KMS away at start: Encrypt seals under the other after the wait, under another id', async () => {
    const { a, b, keys } = pair();
    takeDown(b);
    const { service, ring } = openRing(a, { keys, publish: { startMs: 30 } });
    await until(() => ring.keyStates[0]?.state === 'ready');
    expect(() => service.encrypt(SEED)).toThrow(expect.objectContaining({ code: 'UNAVAILABLE' }));
    vi.advanceTimersByTime(30);
    await until(() => ring.snapshot !== undefined);
    const alone = service.encrypt(SEED);
    expect(recordNames(alone)).toEqual(['a']);
    expect(ring.standingAlarms.join()).toContain('new data cannot be opened by key "b"');
  });

  test('one KMS away at start: the wait ends by itself, though its timer fires early', async () => {
    const { a, b, keys } = pair();
    takeDown(b);
    const { ring } = openRing(a, { keys, publish: { startMs: 20 }, limits: { probeIntervalMs: ONE_TURN_MS } });
    await until(() => ring.keyStates[0]?.state === 'ready');
    // The clock stands still: to the ring every timer is early.
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(ring.snapshot).toBeUndefined();
    vi.advanceTimersByTime(20);
    await until(() => ring.snapshot !== undefined);
  });

  test('the writer away at start: Encrypt seals under the recover key, in the name of the writer', async () => {
    const { a, b, keys } = pair();
    takeDown(a);
    const { service, ring } = openRing(b, { keys, publish: { startMs: 1 } });
    vi.advanceTimersByTime(5);
    await until(() => ring.snapshot !== undefined);
    const parts = service.encrypt(SEED);
    expect(recordNames(parts)).toEqual(['b']);
    expect(parts.keyId).toMatch(/^a:/);
  });

  test('one that was away joins when the set has been complete for long enough, and the id of the full set is the one it always has', async () => {
    const { a, b, keys } = pair();
    const { service: before } = await openQuietRing(a, { keys });
    const full = before.encrypt(SEED).keyId;

    takeDown(b);
    const { service, ring } = openRing(a, { keys, publish: { startMs: 1, completeMs: 1_000 } });
    vi.advanceTimersByTime(5);
    await until(() => ring.snapshot !== undefined);
    const alone = service.encrypt(SEED).keyId;
    expect(alone).not.toBe(full);

    b.heal();
    vi.advanceTimersByTime(1_000);
    await until(() => ring.keyStates.every(({ state }) => state === 'ready'));
    const turns = a.calls.currentKekId;
    await until(() => a.calls.currentKekId > turns + 3);
    expect(service.encrypt(SEED).keyId).toBe(alone);
    vi.advanceTimersByTime(1_000);
    await until(() => ring.snapshot?.keyId === full);
    expect(recordNames(service.encrypt(SEED))).toEqual(['a', 'b']);
  });

  test('a key that goes away leaves the set as it is, also when the other rotates', async () => {
    const { a, b, keys } = pair();
    const { service, ring } = await openReadyRing(a, { keys });
    const { keyId } = service.encrypt(SEED);
    takeDown(b);
    a.rotate();
    await until(() => ring.keyStates[1]?.state === 'failing');
    const turns = a.calls.currentKekId;
    await until(() => a.calls.currentKekId > turns + 4);
    expect(ring.snapshot?.keyId).toBe(keyId);

    b.heal();
    vi.advanceTimersByTime(1_000);
    await until(() => ring.snapshot?.keyId !== keyId);
    expect(recordNames(service.encrypt(SEED))).toEqual(['a', 'b']);
  });

  test('a record that does not unwrap to what was wrapped is never published', async () => {
    const { a, b, keys } = pair();
    b.answers.unwrap = () => new Uint8Array(32).fill(7);
    const { ring } = openRing(a, { keys, publish: { startMs: 1 } });
    vi.advanceTimersByTime(5);
    await until(() => ring.snapshot !== undefined);
    const before = b.calls.wrap;
    await until(() => {
      vi.advanceTimersByTime(1_000);
      return b.calls.wrap > before + 2;
    });
    expect(ring.snapshot?.records.map(({ keyName }) => keyName)).toEqual(['a']);
  });

  test('what carries each key is counted by the answers to Encrypt', async () => {
    const { a, keys } = pair();
    const { service, ring } = await openQuietRing(a, { keys });
    expect(ring.keyStates.map(({ carriedForMs }) => carriedForMs)).toEqual([undefined, undefined]);
    service.encrypt(SEED);
    vi.advanceTimersByTime(70);
    service.encrypt(SEED);
    expect(ring.keyStates.map(({ carriedForMs }) => carriedForMs)).toEqual([70, 70]);
  });
});

describe('Decrypt', () => {
  const cold = async (change: (kms: { a: MemoryKms; b: MemoryKms }) => void) => {
    const { a, b, keys } = pair();
    const { service } = await openQuietRing(a, { keys });
    const parts = service.encrypt(SEED);
    change({ a, b });
    const counts = () => ({ a: a.calls.unwrap, b: b.calls.unwrap });
    return { parts, keys, counts };
  };

  test('asks the writer and nobody else when it is well', async () => {
    const { parts, keys, counts } = await cold(() => undefined);
    const { service } = await openQuietRing(new MemoryKms(), { keys });
    const before = counts();
    await service.decrypt(parts, patience);
    expect(counts()).toEqual({ a: before.a + 1, b: before.b });
  });

  test('asks a recover key that is well before a writer that fails', async () => {
    const { parts, keys, counts } = await cold(({ a }) => {
      takeDown(a);
      // It opens: to be asked is to be called.
      delete a.before.open;
    });
    const { service, ring } = openRing(new MemoryKms(), { keys, publish: { startMs: 1 } });
    await until(() => ring.keyStates[0]?.state === 'failing' && ring.keyStates[1]?.state === 'ready');
    const before = counts();
    expect(hex(await service.decrypt(parts, patience))).toBe(hex(SEED));
    expect(counts().a).toBe(before.a);
  });

  test('asks the next key when the one before does not answer for a second', async () => {
    const { parts, keys } = await cold(({ a }) => {
      a.before.unwrap = stall;
    });
    const { service } = openRing(new MemoryKms(), { keys, limits: { remoteCallMs: 60_000 } });
    expect(hex(await service.decrypt(parts, { signal: AbortSignal.timeout(3_000) }))).toBe(hex(SEED));
  });

  test('says of every key why it did not open', async () => {
    const { parts, keys } = await cold(({ a, b }) => {
      takeDown(a);
      b.before.unwrap = rejectWith(new BackendError('permission-denied', 'memory: no'));
    });
    const { service } = openRing(new MemoryKms(), { keys });
    const error: unknown = await service.decrypt(parts, patience).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'UNAVAILABLE' });
    expect(String(error)).toMatch(/"a".*"b"/);
  });

  test('in a storm is not passed on to a KMS that is away', async () => {
    const kms = new MemoryKms();
    const storm = await Promise.all(
      Array.from({ length: 40 }, async () => {
        const { service, ring } = await openQuietRing(kms);
        const parts = service.encrypt(SEED);
        await ring.close();
        return parts;
      }),
    );
    const { service } = await openQuietRing(kms, { limits: { unwrapConcurrency: 1 } });
    kms.before.unwrap = DOWN;
    const before = kms.calls.unwrap;
    await Promise.allSettled(storm.map((parts) => service.decrypt(parts, patience)));
    expect(kms.calls.unwrap - before).toBeLessThanOrEqual(6);
  });
});

describe('a read key', () => {
  test('opens what it wrapped and wraps nothing', async () => {
    const old = new MemoryKms();
    const { service: before } = await openQuietRing(old, { key: memoryKey(old, 'old') });
    const parts = before.encrypt(SEED);
    const wraps = old.calls.wrap;

    const kms = new MemoryKms();
    const keys = [memoryKey(kms), memoryKey(old, 'old', { role: 'read' })];
    const { service, ring } = await openQuietRing(kms, { keys });
    expect(hex(await service.decrypt(parts, patience))).toBe(hex(SEED));
    expect(recordNames(service.encrypt(SEED))).toEqual(['prod']);
    expect(old.calls.wrap).toBe(wraps);
    expect(ring.keyStates[1]).toMatchObject({ role: 'read', neededMs: 0 });
  });
});
