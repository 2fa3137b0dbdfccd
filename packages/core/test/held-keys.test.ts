import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { AnnotatedKey } from '../src/envelope.js';
import { HeldKeys } from '../src/held-keys.js';
import { KmsError } from '../src/kms-error.js';
import { LocalKey } from '../src/local-key.js';
import { patience } from './open-ring.js';
import { until } from './until.js';
import { concat, utf8 } from './wire.js';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** An envelope of a local key of its own, or of `bytes`. */
function envelope(bytes: Uint8Array = randomBytes(32), note = 'annotation'): AnnotatedKey & { bytes: Uint8Array } {
  const { commitment } = LocalKey.fromBytes(bytes);
  const annotation = concat(utf8(note), commitment);
  return { bytes, commitment, annotation, cluster: 'c', records: [] };
}

/** Held keys over a KMS whose calls a test answers one by one. */
function openHeld({ capacity = 100, maxWaiting = 100 } = {}) {
  const unwraps: { readonly of: AnnotatedKey; succeed(): LocalKey; fail(error: unknown): void }[] = [];
  const held = new HeldKeys({
    capacity,
    maxWaiting,
    unwrap: (of) =>
      new Promise((resolve, reject) => {
        unwraps.push({
          of,
          succeed() {
            const localKey = LocalKey.fromBytes((of as ReturnType<typeof envelope>).bytes);
            resolve(localKey);
            return localKey;
          },
          fail: reject,
        });
      }),
  });
  return { held, unwraps };
}

const codeOf = (error: unknown) => (error instanceof KmsError ? error.code : error);
const outcome = (obtained: Promise<LocalKey>) =>
  obtained.then(
    () => 'obtained',
    (error: unknown) => codeOf(error),
  );
const destroyed = (localKey: LocalKey) => {
  try {
    localKey.seal(new Uint8Array(1), new Uint8Array());
    return false;
  } catch {
    return true;
  }
};

test('an unwrapped local key is held, and found by its commitment', async () => {
  const { held, unwraps } = openHeld();
  const wanted = envelope();
  expect(held.find(wanted.commitment)).toBeUndefined();
  const obtained = held.obtain(wanted, patience.signal);
  const localKey = unwraps[0]!.succeed();
  expect(await obtained).toBe(localKey);
  expect(held.find(Uint8Array.from(wanted.commitment))).toBe(localKey);
  expect(held.find(envelope().commitment)).toBeUndefined();
  expect(held.size).toBe(1);
});

test('all who wait for the same local key share one unwrap', async () => {
  const { held, unwraps } = openHeld();
  const wanted = envelope();
  const obtained = Array.from({ length: 50 }, () => held.obtain(wanted, patience.signal));
  expect(unwraps).toHaveLength(1);
  expect(held.waiting).toBe(50);
  const localKey = unwraps[0]!.succeed();
  expect(new Set(await Promise.all(obtained))).toEqual(new Set([localKey]));
  expect(held.waiting).toBe(0);
});

test('different local keys are unwrapped side by side', () => {
  const { held, unwraps } = openHeld();
  for (let count = 0; count < 5; count += 1) void outcome(held.obtain(envelope(), patience.signal));
  expect(unwraps).toHaveLength(5);
});

describe('after a failed unwrap', () => {
  test('all who waited get the same error', async () => {
    const { held, unwraps } = openHeld();
    const wanted = envelope();
    const obtained = Promise.all(Array.from({ length: 3 }, () => outcome(held.obtain(wanted, patience.signal))));
    unwraps[0]!.fail(new KmsError('UNAVAILABLE', 'down'));
    expect(await obtained).toEqual(['UNAVAILABLE', 'UNAVAILABLE', 'UNAVAILABLE']);
    expect(held.size).toBe(0);
  });

  test('it is answered without another for 1 s, doubling to 30 s', async () => {
    const { held, unwraps } = openHeld();
    const wanted = envelope();
    for (const seconds of [1, 2, 4, 8, 16, 30, 30, 30]) {
      const error = new Error(`${seconds}`);
      const before = unwraps.length;
      const failing = outcome(held.obtain(wanted, patience.signal));
      expect(unwraps).toHaveLength(before + 1);
      unwraps[before]!.fail(error);
      expect(await failing).toBe(error);

      expect(await outcome(held.obtain(wanted, patience.signal))).toBe(error);
      vi.advanceTimersByTime(seconds * 1_000 - 1);
      expect(await outcome(held.obtain(wanted, patience.signal))).toBe(error);
      expect(unwraps).toHaveLength(before + 1);
      vi.advanceTimersByTime(1);
    }
  });

  test('a success begins the doubling anew', async () => {
    const { held, unwraps } = openHeld({ capacity: 1 });
    const wanted = envelope();
    const fail = async () => {
      const failing = outcome(held.obtain(wanted, patience.signal));
      unwraps.at(-1)!.fail(new KmsError('UNAVAILABLE', 'down'));
      await failing;
    };
    await fail();
    vi.advanceTimersByTime(1_000);
    await fail();
    vi.advanceTimersByTime(2_000);
    const obtained = held.obtain(wanted, patience.signal);
    unwraps.at(-1)!.succeed();
    await obtained;
    await fail();
    vi.advanceTimersByTime(1_000);
    const before = unwraps.length;
    void outcome(held.obtain(wanted, patience.signal));
    expect(unwraps).toHaveLength(before + 1);
  });

  test('no other envelope is made to fail or wait, not even one with the same commitment', async () => {
    const { held, unwraps } = openHeld();
    const wanted = envelope();
    const tampered = { ...envelope(wanted.bytes, 'tampered records'), commitment: wanted.commitment };
    const failing = outcome(held.obtain(tampered, patience.signal));
    const obtained = held.obtain(wanted, patience.signal);
    expect(unwraps.map(({ of }) => of)).toEqual([tampered, wanted]);
    unwraps[0]!.fail(new KmsError('INVALID_ARGUMENT', 'tampered'));
    expect(await failing).toBe('INVALID_ARGUMENT');
    const localKey = unwraps[1]!.succeed();
    expect(await obtained).toBe(localKey);
  });
});

describe('waiting', () => {
  test('is refused with RESOURCE_EXHAUSTED above the cap, for a shared unwrap too', async () => {
    const { held, unwraps } = openHeld({ maxWaiting: 3 });
    const [shared, other] = [envelope(), envelope()];
    const obtained = [
      held.obtain(shared, patience.signal),
      held.obtain(shared, patience.signal),
      held.obtain(other, patience.signal),
    ];
    expect(await outcome(held.obtain(shared, patience.signal))).toBe('RESOURCE_EXHAUSTED');
    expect(await outcome(held.obtain(envelope(), patience.signal))).toBe('RESOURCE_EXHAUSTED');
    expect(unwraps).toHaveLength(2);
    for (const unwrap of unwraps) unwrap.succeed();
    await Promise.all(obtained);
    void outcome(held.obtain(envelope(), patience.signal));
    expect(unwraps).toHaveLength(3);
  });

  test('leaves no refusal behind', async () => {
    const { held, unwraps } = openHeld({ maxWaiting: 1 });
    const [first, second] = [envelope(), envelope()];
    const obtained = held.obtain(first, patience.signal);
    expect(await outcome(held.obtain(second, patience.signal))).toBe('RESOURCE_EXHAUSTED');
    unwraps[0]!.succeed();
    await obtained;
    const retried = held.obtain(second, patience.signal);
    unwraps[1]!.succeed();
    expect(destroyed(await retried)).toBe(false);
  });

  test('holds callers that gave up against the cap until their unwraps end', async () => {
    const { held, unwraps } = openHeld({ maxWaiting: 10 });
    for (let count = 0; count < 10; count += 1) {
      const impatience = new AbortController();
      const obtained = outcome(held.obtain(envelope(), impatience.signal));
      impatience.abort();
      expect(await obtained).toBe('CANCELLED');
    }
    expect(held.waiting).toBe(0);
    expect(unwraps).toHaveLength(10);
    expect(await outcome(held.obtain(envelope(), patience.signal))).toBe('RESOURCE_EXHAUSTED');
    unwraps[0]!.succeed();
    await until(() => held.size === 1);
    void outcome(held.obtain(envelope(), patience.signal));
    expect(unwraps).toHaveLength(11);
  });
});

describe('a caller that gives up', () => {
  test('leaves at once, and cancels nothing for the others', async () => {
    const { held, unwraps } = openHeld();
    const wanted = envelope();
    const impatience = new AbortController();
    const leaving = outcome(held.obtain(wanted, impatience.signal));
    const staying = held.obtain(wanted, patience.signal);
    impatience.abort();
    expect(await leaving).toBe('CANCELLED');
    expect(held.waiting).toBe(1);
    const localKey = unwraps[0]!.succeed();
    expect(await staying).toBe(localKey);
    expect(unwraps).toHaveLength(1);
  });

  test('leaves its unwrap to the next who asks', async () => {
    const { held, unwraps } = openHeld();
    const wanted = envelope();
    const impatience = new AbortController();
    const leaving = outcome(held.obtain(wanted, impatience.signal));
    impatience.abort();
    await leaving;
    const next = held.obtain(wanted, patience.signal);
    unwraps[0]!.succeed();
    await next;
    expect(unwraps).toHaveLength(1);
    expect(held.find(wanted.commitment)).toBe(await next);
  });

  test('makes no unhandled rejection when its unwrap fails', async () => {
    const unhandled: unknown[] = [];
    const record = (error: unknown) => unhandled.push(error);
    process.on('unhandledRejection', record);
    const { held, unwraps } = openHeld();
    const wanted = envelope();
    const impatience = new AbortController();
    const leaving = outcome(held.obtain(wanted, impatience.signal));
    impatience.abort();
    expect(await leaving).toBe('CANCELLED');
    unwraps[0]!.fail(new KmsError('UNAVAILABLE', 'down'));
    expect(await until(() => outcome(held.obtain(wanted, patience.signal)))).toBe('UNAVAILABLE');
    await new Promise((resolve) => setImmediate(resolve));
    process.off('unhandledRejection', record);
    expect(unhandled).toEqual([]);
  });

  test('had it given up before, is told so', async () => {
    const { held } = openHeld();
    expect(await outcome(held.obtain(envelope(), AbortSignal.abort()))).toBe('CANCELLED');
  });
});

describe('above the capacity', () => {
  const obtain = async ({ held, unwraps }: ReturnType<typeof openHeld>, wanted: AnnotatedKey) => {
    const obtained = held.obtain(wanted, patience.signal);
    unwraps.at(-1)!.succeed();
    return obtained;
  };

  test('the local key used longest ago goes, and is destroyed', async () => {
    const opened = openHeld({ capacity: 2 });
    const [a, b, c] = [envelope(), envelope(), envelope()];
    const keyA = await obtain(opened, a);
    const keyB = await obtain(opened, b);
    expect(opened.held.find(a.commitment)).toBe(keyA);
    const keyC = await obtain(opened, c);
    expect(opened.held.find(b.commitment)).toBeUndefined();
    await until(() => destroyed(keyB));
    expect(destroyed(keyA)).toBe(false);
    expect(destroyed(keyC)).toBe(false);
    expect(opened.held.size).toBe(2);
  });

  test('who was just given a local key can still use it', async () => {
    const { held, unwraps } = openHeld({ capacity: 1 });
    const seed = new Uint8Array(32);
    const opened = Promise.all(
      [envelope(), envelope(), envelope()].map(async (wanted) => {
        const sealed = LocalKey.fromBytes(wanted.bytes).seal(seed, wanted.annotation);
        return (await held.obtain(wanted, patience.signal)).open(sealed, wanted.annotation);
      }),
    );
    for (const unwrap of unwraps) unwrap.succeed();
    expect(await opened).toEqual([Buffer.alloc(32), Buffer.alloc(32), Buffer.alloc(32)]);
    expect(held.size).toBe(1);
  });

  test('who was just given a local key can use it when it comes in a second time', async () => {
    const { held, unwraps } = openHeld();
    const wanted = envelope();
    const opened = Promise.all(
      [wanted, envelope(wanted.bytes, 'other records')].map(async (one) => {
        const sealed = LocalKey.fromBytes(wanted.bytes).seal(new Uint8Array(32), one.annotation);
        return (await held.obtain(one, patience.signal)).open(sealed, one.annotation);
      }),
    );
    for (const unwrap of unwraps) unwrap.succeed();
    expect(await opened).toEqual([Buffer.alloc(32), Buffer.alloc(32)]);
    expect(held.size).toBe(1);
  });
});

test('a pinned local key makes room for no other', async () => {
  const { held } = openHeld({ capacity: 1 });
  const annotation = new Uint8Array();
  const [pinned, other, newest] = [LocalKey.generate(), LocalKey.generate(), LocalKey.generate()];
  held.hold({ localKey: pinned, annotation });
  held.pin({ localKey: pinned, annotation });
  held.hold({ localKey: other, annotation });
  held.hold({ localKey: newest, annotation });
  await until(() => destroyed(other));
  expect(held.find(pinned.commitment)).toBe(pinned);
  expect(destroyed(pinned)).toBe(false);
  expect(held.size).toBe(2);
});

test('a local key pinned in the moment it makes room is not destroyed', async () => {
  const { held } = openHeld({ capacity: 1 });
  const annotation = new Uint8Array();
  const [pinned, newest] = [LocalKey.generate(), LocalKey.generate()];
  held.hold({ localKey: pinned, annotation });
  held.hold({ localKey: newest, annotation });
  held.pin({ localKey: pinned, annotation });
  await new Promise((resolve) => setImmediate(resolve));
  expect(destroyed(pinned)).toBe(false);
});

test('wiping destroys a local key at once, pinned or not', () => {
  const { held } = openHeld();
  const annotation = new Uint8Array();
  const [pinned, other] = [LocalKey.generate(), LocalKey.generate()];
  held.pin({ localKey: pinned, annotation });
  held.hold({ localKey: other, annotation });
  for (const each of [...held.entries()]) held.wipe(each);
  expect([pinned, other].every(destroyed)).toBe(true);
  expect(held.size).toBe(0);
});

test('clearing destroys every held local key at once', async () => {
  const { held, unwraps } = openHeld();
  const obtained = [envelope(), envelope()].map((wanted) => held.obtain(wanted, patience.signal));
  for (const unwrap of unwraps) unwrap.succeed();
  const localKeys = await Promise.all(obtained);
  held.clear();
  expect(held.size).toBe(0);
  expect(localKeys.every(destroyed)).toBe(true);
});

test('a local key handed over for holding is found without an unwrap', () => {
  const { held, unwraps } = openHeld();
  const localKey = LocalKey.generate();
  held.hold({ localKey, annotation: new Uint8Array() });
  expect(held.find(localKey.commitment)).toBe(localKey);
  expect(unwraps).toHaveLength(0);
});
