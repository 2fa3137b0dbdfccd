import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { BackendError, type BackendErrorCode } from '../src/backend-error.js';
import { LocalKey } from '../src/local-key.js';
import type { Policy } from '../src/policy.js';
import { decodeEnvelope } from './decode-envelope.js';
import { MemoryKms } from './memory-backend.js';
import { CLUSTER, memoryKey, openReadyRing, openRing, patience, sealedElsewhere } from './open-ring.js';
import { until } from './until.js';
import { hex } from './wire.js';

const SEED = new Uint8Array(32).fill(42);

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

const policy = (
  then: Policy['outage']['then'],
  action: Policy['refusal']['action'] = 'report',
): { readonly policy: Policy } => ({
  policy: { outage: { graceMs: 60_000, then }, refusal: { afterMs: 10_000, action } },
});

/** Makes every unwrap fail with `code`, and every reading of the KEK id too unless it is a refusal of unwrapping alone. */
function fail(kms: MemoryKms, code: BackendErrorCode, { readable = false } = {}): void {
  const throwing = () => {
    throw new BackendError(code, `memory: ${code}`);
  };
  kms.before = { unwrap: throwing, wrap: throwing, ...(readable ? {} : { currentKekId: throwing }) };
}

/** Until the loop has made a turn under the circumstances of now. */
async function aTurn(kms: MemoryKms): Promise<void> {
  const before = kms.calls.currentKekId;
  await until(() => kms.calls.currentKekId > before + 1);
}

describe('an outage', () => {
  test.each([
    ['stay-ok', { healthz: 'ok', hasId: true }],
    ['unready', { healthz: 'not ok', hasId: true }],
    ['stop-writes', { healthz: 'not ok', hasId: false }],
  ] as const)('beyond the grace period, with %s', async (then, { healthz, hasId }) => {
    const kms = new MemoryKms();
    const { service, ring } = await openReadyRing(kms, policy(then));
    const parts = service.encrypt(SEED);
    fail(kms, 'unavailable');
    await until(() => ring.keyStates[0]?.state === 'failing');
    vi.advanceTimersByTime(59_000);
    expect(service.status()).toMatchObject({ healthz: 'ok', keyId: parts.keyId });
    expect(ring.standingAlarms.join()).toContain('"prod" is failing');

    vi.advanceTimersByTime(1_001);
    const answer = service.status();
    expect(answer.healthz === 'ok' ? 'ok' : 'not ok').toBe(healthz);
    expect(answer.keyId).toBe(hasId ? parts.keyId : '');
    expect(hex(await service.decrypt(parts, patience))).toBe(hex(SEED));

    kms.heal();
    await until(() => service.status().healthz === 'ok');
    expect(service.status().keyId).toBe(parts.keyId);
  });

  test('by a rejected login is one too, and never a refusal', async () => {
    const kms = new MemoryKms();
    const { service, ring } = await openReadyRing(kms, policy('stay-ok', 'wipe'));
    fail(kms, 'unauthenticated');
    await until(() => ring.keyStates[0]?.state === 'failing');
    vi.advanceTimersByTime(3_600_000);
    await aTurn(kms);
    expect(service.status().healthz).toBe('ok');
    expect(ring.keyStates[0]?.refusedForMs).toBeUndefined();
    expect(ring.snapshot).toBeDefined();
  });
});

describe.each(['permission-denied', 'key-disabled'] as const)('a refusal (%s)', (code) => {
  test('that has lasted stops writes, and reads go on', async () => {
    const kms = new MemoryKms();
    const { service, ring } = await openReadyRing(kms, policy('stay-ok'));
    const parts = service.encrypt(SEED);
    fail(kms, code);
    await until(() => ring.keyStates[0]?.refusedForMs !== undefined);
    vi.advanceTimersByTime(9_000);
    expect(service.status()).toMatchObject({ healthz: 'ok', keyId: parts.keyId });
    vi.advanceTimersByTime(1_001);
    expect(service.status().keyId).toBe('');
    expect(service.status().healthz).toContain('refused');
    expect(() => service.encrypt(SEED)).toThrow(expect.objectContaining({ code: 'UNAVAILABLE' }));
    expect(hex(await service.decrypt(parts, patience))).toBe(hex(SEED));

    kms.heal();
    await until(() => service.status().healthz === 'ok');
    expect(service.status().keyId).toBe(parts.keyId);
  });

  test('of unwrapping alone counts, though the KEK id can be read', async () => {
    const kms = new MemoryKms();
    const { service, ring } = await openReadyRing(kms, policy('stay-ok'));
    fail(kms, code, { readable: true });
    await until(() => ring.keyStates[0]?.refusedForMs !== undefined);
    vi.advanceTimersByTime(10_001);
    expect(service.status().keyId).toBe('');
  });

  test('wipes where the config says so: what is held is destroyed, and comes back when the KMS lets it', async () => {
    const kms = new MemoryKms();
    const elsewhere = await sealedElsewhere(kms, SEED);
    const { service, ring, observer } = await openReadyRing(kms, policy('stay-ok', 'wipe'));
    await service.decrypt(elsewhere, patience);
    const parts = service.encrypt(SEED);
    const sealing = ring.snapshot!.localKey;
    const held = ring.find(decodeEnvelope(elsewhere, CLUSTER).commitment);
    expect(held?.seal(SEED, SEED)).toBeDefined();
    fail(kms, code);
    await until(() => ring.keyStates[0]?.refusedForMs !== undefined);
    vi.advanceTimersByTime(10_001);
    await until(() => ring.heldLocalKeys === 0);
    expect(() => sealing.seal(SEED, SEED)).toThrow();
    expect(() => held?.seal(SEED, SEED)).toThrow();
    expect(observer.alarms.filter((text) => text.includes('destroyed'))).toHaveLength(1);
    expect(service.status()).toMatchObject({ keyId: '' });
    await expect(service.decrypt(elsewhere, patience)).rejects.toThrow();

    kms.heal();
    await until(() => service.status().healthz === 'ok');
    vi.advanceTimersByTime(31_000);
    expect(service.status().keyId).toBe(parts.keyId);
    expect(hex(await service.decrypt(elsewhere, patience))).toBe(hex(SEED));
    expect(hex(await service.decrypt(parts, patience))).toBe(hex(SEED));
  });

  test('interrupted by an outage begins anew: the login was not good all the time', async () => {
    const kms = new MemoryKms();
    const { service, ring } = await openReadyRing(kms, policy('stay-ok', 'wipe'));
    fail(kms, code);
    await until(() => ring.keyStates[0]?.refusedForMs !== undefined);
    vi.advanceTimersByTime(9_000);
    fail(kms, 'unavailable');
    await until(() => ring.keyStates[0]?.refusedForMs === undefined);
    fail(kms, code);
    await until(() => ring.keyStates[0]?.refusedForMs !== undefined);
    vi.advanceTimersByTime(9_000);
    expect(service.status().healthz).toBe('ok');
  });
});

test('a refusal counts from the first refused probe, not from an outage before it', async () => {
  const kms = new MemoryKms();
  const { service, ring } = await openReadyRing(kms, policy('stay-ok', 'wipe'));
  const { keyId } = service.encrypt(SEED);
  fail(kms, 'unavailable');
  await until(() => ring.keyStates[0]?.outForMs !== undefined);
  vi.advanceTimersByTime(9_000);
  fail(kms, 'permission-denied');
  await until(() => ring.keyStates[0]?.refusedForMs !== undefined);
  vi.advanceTimersByTime(9_000);
  expect(ring.keyStates[0]?.refusedForMs).toBe(9_000);
  expect(service.status()).toMatchObject({ healthz: 'ok', keyId });
});

test('a wipe leaves what another configured key opens', async () => {
  const a = new MemoryKms();
  const b = new MemoryKms();
  const keys = [memoryKey(a, 'a'), memoryKey(b, 'b', { role: 'recover' })];
  const { service, ring } = await openReadyRing(a, { keys, ...policy('stay-ok', 'wipe') });
  const parts = service.encrypt(SEED);
  const sealing = ring.snapshot?.localKey;
  fail(a, 'key-disabled');
  await until(() => ring.keyStates[0]?.refusedForMs !== undefined);
  vi.advanceTimersByTime(10_001);
  await aTurn(a);
  expect(ring.snapshot?.localKey).toBe(sealing);
  expect(sealing?.seal(SEED, SEED)).toBeDefined();
  expect(hex(await service.decrypt(parts, patience))).toBe(hex(SEED));
});

test('a wipe of the local key that seals leaves one that waits to be published and has another opener', async () => {
  const a = new MemoryKms();
  const b = new MemoryKms();
  fail(b, 'unavailable');
  const keys = [memoryKey(a, 'a'), memoryKey(b, 'b', { role: 'recover' })];
  const publish = { quietMs: 1e6, latestMs: 1e9, startMs: 1, completeMs: 0 };
  const { service, ring, observer } = openRing(a, { keys, publish, ...policy('stay-ok', 'wipe') });
  vi.advanceTimersByTime(5);
  const sealing = await until(() => ring.snapshot?.localKey);
  service.status();
  let newest: Uint8Array | undefined;
  b.answers.unwrap = (plaintext) => {
    newest = LocalKey.fromBytes(plaintext).commitment;
    return plaintext;
  };
  b.before = {};
  await until(() => ring.heldLocalKeys === 2);
  const waiting = ring.find(newest!)!;
  expect(waiting).not.toBe(sealing);
  fail(a, 'key-disabled');
  await until(() => ring.keyStates[0]?.refusedForMs !== undefined);
  vi.advanceTimersByTime(10_001);
  await until(() => observer.alarms.some((text) => text.includes('destroyed')));
  expect(() => sealing.seal(SEED, SEED)).toThrow();
  expect(ring.find(waiting.commitment)).toBe(waiting);
  expect(waiting.seal(SEED, SEED)).toBeDefined();
});

test('a refusal never wipes what no KEK opens any more: it is the last copy', async () => {
  const kms = new MemoryKms();
  const { service, ring } = await openReadyRing(kms, policy('stay-ok', 'wipe'));
  const parts = service.encrypt(SEED);
  fail(kms, 'key-not-found');
  await until(() => {
    vi.advanceTimersByTime(10);
    return ring.keyStates[0]?.lost;
  });
  fail(kms, 'permission-denied');
  await until(() => ring.keyStates[0]?.refusedForMs !== undefined);
  vi.advanceTimersByTime(10_001);
  await aTurn(kms);
  expect(ring.snapshot).toBeDefined();
  expect(hex(await service.decrypt(parts, patience))).toBe(hex(SEED));
});

test('a key that is not found never wipes', async () => {
  const kms = new MemoryKms();
  const { service, ring } = await openReadyRing(kms, policy('stay-ok', 'wipe'));
  const parts = service.encrypt(SEED);
  fail(kms, 'key-not-found');
  await until(() => ring.keyStates[0]?.error?.code === 'key-not-found');
  for (let hours = 0; hours < 3; hours += 1) {
    vi.advanceTimersByTime(3_600_000);
    await aTurn(kms);
  }
  expect(ring.snapshot).toBeDefined();
  expect(hex(await service.decrypt(parts, patience))).toBe(hex(SEED));
});

test('a jump of the wall clock changes no duration', async () => {
  const kms = new MemoryKms();
  const { service, ring } = await openReadyRing(kms, policy('stop-writes', 'wipe'));
  fail(kms, 'key-disabled');
  await until(() => ring.keyStates[0]?.refusedForMs !== undefined);
  const now = vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 86_400_000);
  expect(service.status().healthz).toBe('ok');
  expect(ring.keyStates[0]?.refusedForMs).toBeLessThan(1_000);
  now.mockRestore();
});
