import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { BackendError } from '../src/backend-error.js';
import type { BackendModule } from '../src/backend.js';
import { ConfigError } from '../src/config-error.js';
import type { LocalKeyRecord } from '../src/envelope.js';
import { KeyLoop, type RemoteLimits } from '../src/key-loop.js';
import { LocalKey } from '../src/local-key.js';
import type { RemoteOperation } from '../src/observer.js';
import { Gate, MemoryKms, rejectWith, stall } from './memory-backend.js';
import { memoryKey, ONE_TURN_MS } from './open-ring.js';
import { RecordingObserver } from './recording-observer.js';
import { until } from './until.js';
import { hex } from './wire.js';

// The loop measures on a clock that a test turns; its pauses and timeouts are real, and short.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

function openLoop(
  kms: MemoryKms,
  {
    limits,
    module = kms.module,
    probe = () => Promise.resolve(),
    tend = () => Promise.resolve(),
  }: {
    limits?: Partial<RemoteLimits>;
    module?: BackendModule<unknown>;
    probe?: () => Promise<void>;
    tend?: () => Promise<void>;
  } = {},
) {
  const observer = new RecordingObserver();
  const loop = new KeyLoop({
    key: { ...memoryKey(kms), module },
    limits: { probeIntervalMs: 5, remoteCallMs: 2_000, unwrapConcurrency: 4, ...limits },
    observer,
    duties: { probe, tend },
  });
  onTestFinished(() => loop.close());
  return { loop, observer };
}

/** A loop that runs. */
function runLoop(kms: MemoryKms, options: Parameters<typeof openLoop>[1] = {}) {
  const opened = openLoop(kms, options);
  void opened.loop.run();
  return opened;
}

/** Until the Decrypts of `loop` are refused without asking the KMS. */
async function away(
  loop: KeyLoop,
  kms: MemoryKms,
  record: LocalKeyRecord,
  options: { readonly retryAfterMs?: number } = {},
): Promise<void> {
  kms.before.unwrap = () => {
    throw new BackendError('unavailable', 'memory: away', options);
  };
  for (let time = 0; time < 5; time += 1) await failureOf(loop.unwrapForDecrypt(record));
}

async function failureOf(promise: Promise<unknown>): Promise<BackendError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof BackendError) return error;
  throw new Error('no BackendError', { cause: error });
}

describe('a key', () => {
  test('is opening, then ready with its KEK id', async () => {
    const kms = new MemoryKms();
    const gate = new Gate();
    kms.before.open = gate.pass;
    const { loop, observer } = runLoop(kms);
    expect(loop.state).toEqual({
      name: 'prod',
      role: 'write',
      backend: 'memory',
      state: 'opening',
      forMs: 0,
      lastGoodContactMs: undefined,
      lastProbeMs: undefined,
      kekId: undefined,
      error: undefined,
      outForMs: undefined,
      refusedForMs: undefined,
    });
    gate.open();
    await until(() => loop.state.state === 'ready');
    expect(loop.state).toMatchObject({ kekId: kms.kekId, error: undefined });
    expect(observer.keyChanges).toEqual([{ key: 'prod', state: 'ready' }]);
  });

  test('is failing for as long as its KMS fails, and says why and since when', async () => {
    const kms = new MemoryKms();
    const { loop, observer } = runLoop(kms);
    await until(() => loop.state.state === 'ready');
    vi.advanceTimersByTime(10_000);
    const down = new BackendError('unavailable', 'memory: down');
    kms.before.currentKekId = () => {
      throw down;
    };
    await until(() => loop.state.state === 'failing');
    vi.advanceTimersByTime(7_000);
    expect(loop.state).toMatchObject({ forMs: 7_000, error: down });
    expect(loop.state.lastGoodContactMs).toBeGreaterThanOrEqual(7_000);

    delete kms.before.currentKekId;
    await until(() => loop.state.state === 'ready');
    expect(loop.state).toMatchObject({ forMs: 0, error: undefined, lastGoodContactMs: 0 });
    expect(observer.keyChanges.map(({ state }) => state)).toEqual(['ready', 'failing', 'ready']);
    expect(observer.keyChanges[1]!.error).toBe(down);
  });

  test('that goes on failing is reported once, with the newest reason in its state', async () => {
    const kms = new MemoryKms();
    let attempts = 0;
    kms.before.currentKekId = () => {
      throw new BackendError('unavailable', `${++attempts}`);
    };
    const { loop, observer } = runLoop(kms);
    await until(() => attempts > 5);
    expect(Number(loop.state.error?.message)).toBeGreaterThan(1);
    expect(observer.keyChanges).toHaveLength(1);
  });

  test('is failing while what the ring does with it fails', async () => {
    const kms = new MemoryKms();
    let works = false;
    const { loop } = runLoop(kms, {
      tend: async () => {
        if (!works) throw new BackendError('internal', 'no');
      },
    });
    await until(() => loop.state.state === 'failing');
    works = true;
    await until(() => loop.state.state === 'ready');
  });

  test('that cannot be opened is tried again until it can', async () => {
    const kms = new MemoryKms();
    kms.before.open = () => {
      throw new BackendError('unauthenticated', 'memory: login: rejected');
    };
    const { loop } = runLoop(kms);
    await until(() => loop.state.error?.code === 'unauthenticated');
    delete kms.before.open;
    vi.advanceTimersByTime(1_000);
    await until(() => loop.state.state === 'ready');
  });
});

describe('rotation', () => {
  /** A loop over a KMS that reads `readings` one after the other, and the last for ever. */
  function runWithReadings(readings: readonly string[]) {
    const kms = new MemoryKms();
    let reading = -1;
    const inUse: (string | undefined)[] = [];
    kms.answers.currentKekId = () => readings[Math.min((reading += 1), readings.length - 1)];
    const { loop } = runLoop(kms, {
      tend: async () => {
        inUse.push(loop.kekId);
      },
    });
    return { inUse, ended: () => until(() => inUse.length >= readings.length && inUse.slice(0, readings.length)) };
  }

  test('counts only when the same new KEK id is read twice in a row', async () => {
    const { ended } = runWithReadings(['a', 'b', 'a', 'b', 'c', 'b', 'c', 'c', 'c']);
    expect(await ended()).toEqual(['a', 'a', 'a', 'a', 'a', 'a', 'a', 'c', 'c']);
  });

  test('counts when a failure lies between the two readings', async () => {
    const kms = new MemoryKms();
    const { loop } = runLoop(kms);
    await until(() => loop.state.state === 'ready');
    const first = kms.kekId;
    let readings = 0;
    kms.before.currentKekId = () => {
      readings += 1;
      if (readings === 2) throw new BackendError('unavailable', 'down');
      if (readings === 3) expect(loop.kekId).toBe(first);
    };
    kms.rotate();
    await until(() => loop.kekId === kms.kekId);
    expect(readings).toBeGreaterThanOrEqual(3);
  });

  test('goes back in the same way', async () => {
    const { ended } = runWithReadings(['a', 'b', 'b', 'a', 'b', 'a', 'a']);
    expect(await ended()).toEqual(['a', 'a', 'b', 'b', 'b', 'b', 'a']);
  });

  test('is also learned from what wrap used', async () => {
    const kms = new MemoryKms();
    const { loop } = runLoop(kms, { limits: { probeIntervalMs: ONE_TURN_MS } });
    await until(() => loop.state.state === 'ready');
    kms.rotate();
    const { kekId } = await loop.wrap(LocalKey.generate());
    expect(kekId).toBe(kms.kekId);
    expect(loop.kekId).toBe(kms.kekId);
  });
});

describe('wrap', () => {
  test('gives a record that unwraps to the same local key', async () => {
    const kms = new MemoryKms();
    const { loop } = openLoop(kms);
    const localKey = LocalKey.generate();
    const record = await loop.wrap(localKey);
    expect(record).toMatchObject({ keyName: 'prod', kekId: kms.kekId });
    expect((await loop.unwrap(record)).equals(localKey)).toBe(true);
  });

  test('refuses a record that does not unwrap to what was wrapped', async () => {
    const kms = new MemoryKms();
    kms.answers.unwrap = () => new Uint8Array(32).fill(1);
    const { loop } = openLoop(kms);
    expect((await failureOf(loop.wrap(LocalKey.generate()))).code).toBe('internal');
  });

  test('fails when what was wrapped cannot be unwrapped', async () => {
    const kms = new MemoryKms();
    kms.before.unwrap = () => {
      throw new BackendError('permission-denied', 'memory: unwrap: permission denied');
    };
    const { loop } = openLoop(kms);
    expect((await failureOf(loop.wrap(LocalKey.generate()))).code).toBe('permission-denied');
  });

  test('leaves the backend nothing but zeros of what it lent', async () => {
    const kms = new MemoryKms();
    const { loop } = openLoop(kms);
    await loop.wrap(LocalKey.generate());
    expect(kms.lent.map(hex)).toEqual(['00'.repeat(32)]);
  });

  test('is not harmed by a backend that changes what it was lent', async () => {
    const kms = new MemoryKms();
    const { loop } = openLoop(kms);
    const localKey = LocalKey.generate();
    kms.answers.wrap = (wrapped) => {
      kms.lent.at(-1)!.fill(0xee);
      return wrapped;
    };
    const record = await loop.wrap(localKey);
    expect((await loop.unwrap(record)).equals(localKey)).toBe(true);
  });

  test.each([
    ['a Uint8Array', (length: number) => new Uint8Array(length)],
    ['a Buffer, whose slice() is a view', (length: number) => Buffer.alloc(length)],
  ])('is not harmed by a backend that hands out one buffer, %s, again and again', async (_kind, allocate) => {
    const kms = new MemoryKms();
    const { loop } = openLoop(kms);
    const shared = allocate(60);
    kms.answers.wrap = ({ kekId, ciphertext }) => {
      shared.set(ciphertext);
      return { kekId, ciphertext: shared };
    };
    const [first, second] = [LocalKey.generate(), LocalKey.generate()];
    const firstRecord = await loop.wrap(first);
    await loop.wrap(second);
    shared.fill(0);
    expect((await loop.unwrap(firstRecord)).equals(first)).toBe(true);
  });
});

describe('unwrap', () => {
  test.each([
    ['a Uint8Array', (bytes: Uint8Array) => Uint8Array.from(bytes)],
    ['a Buffer, whose slice() is a view', (bytes: Uint8Array) => Buffer.from(bytes)],
  ])('is not harmed by a backend that overwrites its input, %s', async (_kind, copyOf) => {
    const kms = new MemoryKms();
    const { loop } = openLoop(kms);
    const localKey = LocalKey.generate();
    const record = await loop.wrap(localKey);
    const wrapped = { ...record, ciphertext: copyOf(record.ciphertext) };
    const unwrapNow = kms.unwrapNow.bind(kms);
    kms.unwrapNow = (input) => {
      const plaintext = unwrapNow(input);
      input.ciphertext.fill(0);
      return plaintext;
    };
    for (let time = 0; time < 2; time += 1) expect((await loop.unwrap(wrapped)).equals(localKey)).toBe(true);
    expect(hex(wrapped.ciphertext)).toBe(hex(record.ciphertext));
  });

  test('overwrites the plaintext that the backend returned', async () => {
    const kms = new MemoryKms();
    const { loop } = openLoop(kms);
    const record = await loop.wrap(LocalKey.generate());
    const returned: Uint8Array[] = [];
    kms.answers.unwrap = (plaintext) => {
      returned.push(plaintext);
      return plaintext;
    };
    await loop.unwrap(record);
    expect(returned.map(hex)).toEqual(['00'.repeat(32)]);
  });

  test('takes a view into a larger buffer for what it shows, and leaves the rest of it alone', async () => {
    const kms = new MemoryKms();
    const { loop } = openLoop(kms);
    const localKey = LocalKey.generate();
    const record = await loop.wrap(localKey);
    const larger = new Uint8Array(64).fill(0xaa);
    kms.answers.unwrap = (plaintext) => {
      larger.set(plaintext, 16);
      return larger.subarray(16, 48);
    };
    expect((await loop.unwrap(record)).equals(localKey)).toBe(true);
    expect(hex(larger)).toBe(`${'aa'.repeat(16)}${'00'.repeat(32)}${'aa'.repeat(16)}`);
  });

  test('opens the backend when the loop has not yet', async () => {
    const kms = new MemoryKms();
    const elsewhere = openLoop(kms);
    const localKey = LocalKey.generate();
    const record = await elsewhere.loop.wrap(localKey);
    const { loop } = openLoop(kms);
    expect((await loop.unwrap(record)).equals(localKey)).toBe(true);
  });

  test('shares one open with all who need it, the loop among them', async () => {
    const kms = new MemoryKms();
    const record = await openLoop(kms).loop.wrap(LocalKey.generate());
    const gate = new Gate();
    kms.before.open = gate.pass;
    const { loop } = runLoop(kms);
    const unwrapped = Promise.all(Array.from({ length: 10 }, () => loop.unwrap(record)));
    gate.open();
    await unwrapped;
    expect(kms.calls.open).toBe(2);
  });

  test('does not repeat an open that failed a moment ago', async () => {
    const kms = new MemoryKms();
    kms.before.open = () => {
      throw new BackendError('unavailable', 'memory: open: refused');
    };
    const { loop } = openLoop(kms);
    const record = { kekId: 'x', ciphertext: new Uint8Array(1) };
    for (let time = 0; time < 5; time += 1) expect((await failureOf(loop.unwrap(record))).code).toBe('unavailable');
    expect(kms.calls.open).toBe(1);
    vi.advanceTimersByTime(1_000);
    await failureOf(loop.unwrap(record));
    expect(kms.calls.open).toBe(2);
  });

  test('happens as often at a time as the limit says, and no call is lost', async () => {
    const kms = new MemoryKms();
    const { loop } = openLoop(kms, { limits: { unwrapConcurrency: 3 } });
    const record = await loop.wrap(LocalKey.generate());
    let now = 0;
    let most = 0;
    kms.before.unwrap = async () => {
      most = Math.max(most, (now += 1));
      await new Promise((resolve) => setImmediate(resolve));
      now -= 1;
    };
    await Promise.all(Array.from({ length: 20 }, () => loop.unwrap(record)));
    expect(most).toBe(3);
    expect(kms.calls.unwrap).toBe(21);
  });

  test('makes no warning about listeners however many run at a time', async () => {
    const warnings: Error[] = [];
    const record = (warning: Error) => warnings.push(warning);
    process.on('warning', record);
    const kms = new MemoryKms();
    const { loop } = openLoop(kms, { limits: { unwrapConcurrency: 100 } });
    const wrapped = await loop.wrap(LocalKey.generate());
    const gate = new Gate();
    kms.before.unwrap = gate.pass;
    const unwrapped = Promise.all(Array.from({ length: 100 }, () => loop.unwrap(wrapped)));
    await until(() => kms.calls.unwrap === 101);
    gate.open();
    await unwrapped;
    await new Promise((resolve) => setImmediate(resolve));
    process.off('warning', record);
    expect(warnings).toEqual([]);
  });
});

describe('a remote call that is not answered', () => {
  const operations: readonly RemoteOperation[] = ['open', 'currentKekId', 'wrap', 'unwrap'];
  test.each(operations)('%s is given up in time as unavailable, and its signal aborts', async (operation) => {
    const kms = new MemoryKms();
    kms.before[operation] = stall;
    const { loop, observer } = runLoop(kms, {
      limits: { remoteCallMs: 20 },
      tend: async () => {
        await loop.wrap(LocalKey.generate());
      },
    });
    await until(() => loop.state.state === 'failing');
    expect(loop.state.error?.code).toBe('unavailable');
    expect(observer.remoteCalls.find((call) => call.operation === operation)?.code).toBe('unavailable');
    const signal = operation === 'open' ? kms.host?.signal : kms.signals.find(({ aborted }) => aborted);
    if (operation !== 'open') expect(signal?.aborted).toBe(true);
  });

  test('is unavailable too when the backend rejects with the abort of its own client', async () => {
    const kms = new MemoryKms();
    const { loop } = openLoop(kms, { limits: { remoteCallMs: 20 } });
    const record = await loop.wrap(LocalKey.generate());
    kms.before.unwrap = (signal) =>
      new Promise((_resolve, reject) => {
        signal!.addEventListener('abort', () => {
          reject(signal!.reason as Error);
        });
      });
    expect((await failureOf(loop.unwrap(record))).code).toBe('unavailable');
  });

  test.each(operations)('%s works again when the KMS does', async (operation) => {
    const kms = new MemoryKms();
    kms.before[operation] = stall;
    const { loop } = runLoop(kms, {
      limits: { remoteCallMs: 20 },
      tend: async () => {
        await loop.wrap(LocalKey.generate());
      },
    });
    await until(() => loop.state.state === 'failing');
    kms.heal();
    vi.advanceTimersByTime(1_000);
    await until(() => loop.state.state === 'ready');
  });

  test('close is not waited for longer than any other', async () => {
    const kms = new MemoryKms();
    const { loop } = runLoop(kms, { limits: { remoteCallMs: 20 } });
    await until(() => loop.state.state === 'ready');
    kms.before.close = stall;
    await loop.close();
    expect(kms.calls.close).toBe(1);
  });

  test('does not hold up other unwraps', async () => {
    const kms = new MemoryKms();
    const { loop } = openLoop(kms, { limits: { remoteCallMs: 20, unwrapConcurrency: 1 } });
    const record = await loop.wrap(LocalKey.generate());
    kms.before.unwrap = () => {
      delete kms.before.unwrap;
      return stall();
    };
    const [stalled, next] = [failureOf(loop.unwrap(record)), loop.unwrap(record)];
    expect((await stalled).code).toBe('unavailable');
    await next;
  });
});

describe('what the KMS asks us to wait', () => {
  test('is waited between two turns, however short the pause would be', async () => {
    const kms = new MemoryKms();
    const askedMs = 400;
    const readAtMs: number[] = [];
    kms.before.currentKekId = () => {
      readAtMs.push(Date.now());
      throw new BackendError('throttled', 'memory: slow down', { retryAfterMs: askedMs });
    };
    runLoop(kms);
    await until(() => readAtMs.length >= 3);
    const pausesMs = readAtMs.slice(1).map((atMs, index) => atMs - readAtMs[index]!);
    // A timer may fire a millisecond early.
    expect(Math.min(...pausesMs)).toBeGreaterThanOrEqual(askedMs - 2);
  });

  test('is waited by the Decrypts too, once several found it away', async () => {
    const kms = new MemoryKms();
    const { loop } = openLoop(kms);
    const record = await loop.wrap(LocalKey.generate());
    kms.before.unwrap = () => {
      throw new BackendError('throttled', 'memory: slow down', { retryAfterMs: 60_000 });
    };
    for (let time = 0; time < 5; time += 1) await failureOf(loop.unwrapForDecrypt(record));
    const asked = kms.calls.unwrap;
    vi.advanceTimersByTime(59_999);
    expect((await failureOf(loop.unwrapForDecrypt(record))).code).toBe('unavailable');
    expect(kms.calls.unwrap).toBe(asked);
    vi.advanceTimersByTime(1);
    expect((await failureOf(loop.unwrapForDecrypt(record))).code).toBe('throttled');
    expect(kms.calls.unwrap).toBe(asked + 1);
  });

  test('is waited for five minutes at most', async () => {
    const kms = new MemoryKms();
    const { loop } = openLoop(kms);
    const record = await loop.wrap(LocalKey.generate());
    for (const retryAfterMs of [86_400_000, 1e300]) {
      await away(loop, kms, record, { retryAfterMs });
      vi.advanceTimersByTime(299_999);
      expect((await failureOf(loop.unwrapForDecrypt(record))).code).toBe('unavailable');
      kms.heal();
      vi.advanceTimersByTime(1);
      await loop.unwrapForDecrypt(record);
    }
  });
});

describe('Decrypts of a key whose KMS was away five times in a row', () => {
  test('ask it one at a time after each pause, 0.5 s to 5 s long, and all at once when it answered', async () => {
    const kms = new MemoryKms();
    const { loop } = openLoop(kms);
    const record = await loop.wrap(LocalKey.generate());
    await away(loop, kms, record);
    const storm = async () => {
      const before = kms.calls.unwrap;
      const failures = await Promise.all(Array.from({ length: 4 }, () => failureOf(loop.unwrapForDecrypt(record))));
      expect(new Set(failures.map(({ code }) => code))).toEqual(new Set(['unavailable']));
      return kms.calls.unwrap - before;
    };
    for (const pauseMs of [500, 1_000, 2_000, 4_000, 5_000, 5_000]) {
      vi.advanceTimersByTime(pauseMs - 1);
      expect(await storm()).toBe(0);
      vi.advanceTimersByTime(1);
      expect(await storm()).toBe(1);
    }
    kms.heal();
    vi.advanceTimersByTime(5_000);
    await Promise.all(Array.from({ length: 4 }, () => loop.unwrapForDecrypt(record)));
    await away(loop, kms, record);
    vi.advanceTimersByTime(500);
    expect(await storm()).toBe(1);
  });

  test('need not wait once the key itself has unwrapped something', async () => {
    const kms = new MemoryKms();
    const { loop } = openLoop(kms);
    const record = await loop.wrap(LocalKey.generate());
    await away(loop, kms, record);
    kms.heal();
    expect((await failureOf(loop.unwrapForDecrypt(record))).message).toContain('not asked again yet');
    await loop.unwrap(record);
    await loop.unwrapForDecrypt(record);
  });

  test('go on however the wall clock is set', async () => {
    const kms = new MemoryKms();
    const { loop } = openLoop(kms);
    const record = await loop.wrap(LocalKey.generate());
    await away(loop, kms, record);
    kms.heal();
    const now = vi.spyOn(Date, 'now').mockReturnValue(Date.now() - 3_600_000);
    onTestFinished(() => {
      now.mockRestore();
    });
    vi.advanceTimersByTime(500);
    await loop.unwrapForDecrypt(record);
  });

  test('are kept from it by outages alone: what is refused or damaged keeps no other Decrypt from the KMS', async () => {
    const kms = new MemoryKms();
    const { loop } = openLoop(kms);
    const record = await loop.wrap(LocalKey.generate());
    for (const code of ['invalid-ciphertext', 'key-not-found', 'permission-denied', 'key-disabled'] as const) {
      kms.before.unwrap = () => {
        throw new BackendError(code, `memory: ${code}`);
      };
      for (let time = 0; time < 6; time += 1) {
        expect((await failureOf(loop.unwrapForDecrypt(record))).code).toBe(code);
      }
    }
    kms.heal();
    await loop.unwrapForDecrypt(record);
  });
});

describe('a local key that is unwrapped too late', () => {
  test('is overwritten: nobody waits for it any more', async () => {
    const kms = new MemoryKms();
    const { loop } = openLoop(kms, { limits: { remoteCallMs: 20 } });
    const record = await loop.wrap(LocalKey.generate());
    const gate = new Gate();
    let late: Uint8Array | undefined;
    kms.before.unwrap = gate.pass;
    kms.answers.unwrap = (plaintext) => (late = plaintext);
    expect((await failureOf(loop.unwrap(record))).code).toBe('unavailable');
    gate.open();
    await until(() => late !== undefined && hex(late) === '00'.repeat(32));
  });
});

describe('retire', () => {
  test('lets what still waits for its turn be answered too, and closes then', async () => {
    const kms = new MemoryKms();
    const { loop } = openLoop(kms, { limits: { unwrapConcurrency: 1 } });
    const localKey = LocalKey.generate();
    const record = await loop.wrap(localKey);
    const gate = new Gate();
    kms.before.unwrap = gate.pass;
    const unwrapped = Promise.all(
      Array.from({ length: 10 }, (_, index) => (index % 2 === 0 ? loop.unwrap(record) : loop.unwrapForDecrypt(record))),
    );
    const retired = loop.retire();
    gate.open();
    expect((await unwrapped).every((each) => each.equals(localKey))).toBe(true);
    await retired;
    expect(kms.calls).toMatchObject({ unwrap: 11, close: 1 });
  });
});

describe('an open that took too long', () => {
  test('ends the life of what it was making, and closes the backend that came of it after all', async () => {
    const kms = new MemoryKms();
    const gate = new Gate();
    kms.before.open = gate.pass;
    const { loop } = openLoop(kms, { limits: { remoteCallMs: 20 } });
    expect((await failureOf(loop.wrap(LocalKey.generate()))).code).toBe('unavailable');
    expect(kms.host?.signal.aborted).toBe(true);
    gate.open();
    await until(() => kms.calls.close === 1);
    vi.advanceTimersByTime(1_000);
    await loop.wrap(LocalKey.generate());
    expect(kms.calls.open).toBe(2);
  });
});

describe('a backend that breaks the contract is named, as an internal error, and the loop goes on', () => {
  const control = 'memory/\u0007v1';
  const lies: Record<string, (kms: MemoryKms) => void> = {
    'currentKekId returns nothing': (kms) => (kms.answers.currentKekId = () => undefined),
    'currentKekId returns a number': (kms) => (kms.answers.currentKekId = () => 7),
    'currentKekId returns an empty text': (kms) => (kms.answers.currentKekId = () => ''),
    'currentKekId returns 513 bytes': (kms) => (kms.answers.currentKekId = () => 'x'.repeat(513)),
    'currentKekId returns a control character': (kms) => (kms.answers.currentKekId = () => control),
    'currentKekId returns half a surrogate pair': (kms) => (kms.answers.currentKekId = () => '\ud800'),
    'wrap returns nothing': (kms) => (kms.answers.wrap = () => undefined),
    'wrap returns null': (kms) => (kms.answers.wrap = () => null),
    'wrap returns a text': (kms) => (kms.answers.wrap = () => 'vault:v1:abc'),
    'wrap returns no KEK id': (kms) => (kms.answers.wrap = ({ ciphertext }) => ({ ciphertext })),
    'wrap returns a KEK id of 513 bytes': (kms) => (kms.answers.wrap = (good) => ({ ...good, kekId: 'x'.repeat(513) })),
    'wrap returns a KEK id with a control character': (kms) =>
      (kms.answers.wrap = (good) => ({ ...good, kekId: control })),
    'wrap returns no ciphertext': (kms) => (kms.answers.wrap = ({ kekId }) => ({ kekId })),
    'wrap returns an empty ciphertext': (kms) =>
      (kms.answers.wrap = (good) => ({ ...good, ciphertext: new Uint8Array() })),
    'wrap returns a ciphertext of 2,049 bytes': (kms) =>
      (kms.answers.wrap = (good) => ({ ...good, ciphertext: new Uint8Array(2_049) })),
    'wrap returns a ciphertext as text': (kms) => (kms.answers.wrap = (good) => ({ ...good, ciphertext: 'YWJj' })),
    'wrap returns an ArrayBuffer': (kms) =>
      (kms.answers.wrap = (good) => ({ ...good, ciphertext: new ArrayBuffer(60) })),
    'wrap returns something that cannot be read': (kms) =>
      (kms.answers.wrap = () => ({
        get kekId() {
          throw new TypeError('no');
        },
      })),
    'unwrap returns nothing': (kms) => (kms.answers.unwrap = () => undefined),
    'unwrap returns a text': (kms) => (kms.answers.unwrap = () => 'x'.repeat(32)),
    'unwrap returns no bytes': (kms) => (kms.answers.unwrap = () => new Uint8Array()),
    'unwrap returns 31 bytes': (kms) => (kms.answers.unwrap = (good) => good.subarray(1)),
    'unwrap returns 33 bytes': (kms) => (kms.answers.unwrap = (good) => Uint8Array.of(...good, 0)),
    'unwrap returns other bytes': (kms) => (kms.answers.unwrap = () => new Uint8Array(32).fill(1)),
    'unwrap returns what wrap returned': (kms) => (kms.answers.unwrap = () => new Uint8Array(60)),
    'currentKekId throws a text': (kms) => (kms.before.currentKekId = rejectWith('the seed is hunter2')),
    'wrap throws undefined': (kms) => (kms.before.wrap = rejectWith(undefined)),
    'wrap throws null': (kms) => (kms.before.wrap = rejectWith(null)),
    'unwrap throws an Error': (kms) => (kms.before.unwrap = rejectWith(new TypeError('the seed is hunter2'))),
    'unwrap throws an object like a BackendError': (kms) =>
      (kms.before.unwrap = rejectWith({ name: 'BackendError', code: 'unavailable', message: 'the seed is hunter2' })),
    'open throws a text': (kms) => (kms.before.open = rejectWith('the seed is hunter2')),
    'open throws a ConfigError': (kms) => (kms.before.open = rejectWith(new ConfigError('keys[0].config', 'wrong'))),
  };
  test.each(Object.entries(lies))('%s', async (_lie, tell) => {
    const kms = new MemoryKms();
    tell(kms);
    const { loop } = runLoop(kms, {
      tend: async () => {
        await loop.wrap(LocalKey.generate());
      },
    });
    await until(() => loop.state.state === 'failing');
    const { error } = loop.state;
    expect(error?.code).toBe('internal');
    expect(error?.message).toMatch(/^memory\b/);
    expect(error?.message).not.toContain('hunter2');

    kms.heal();
    vi.advanceTimersByTime(1_000);
    await until(() => loop.state.state === 'ready');
  });

  test.each([
    ['an open that gives nothing', async () => undefined],
    ['an open that gives an empty object', async () => ({})],
    [
      'an open that throws before it returns a promise',
      () => {
        throw new Error('the seed is hunter2');
      },
    ],
  ])('%s', async (_lie, open) => {
    const kms = new MemoryKms();
    const module = { ...kms.module, open: open as unknown as BackendModule<unknown>['open'] };
    const { loop } = runLoop(kms, { module });
    await until(() => loop.state.state === 'failing');
    expect(loop.state.error?.code).toBe('internal');
    expect(loop.state.error?.message).not.toContain('hunter2');
  });
});

describe('what is observed', () => {
  test('every remote call, with the code it came to', async () => {
    const kms = new MemoryKms();
    const { loop, observer } = openLoop(kms);
    const record = await loop.wrap(LocalKey.generate());
    kms.before.unwrap = () => {
      throw new BackendError('throttled', 'slow down');
    };
    await failureOf(loop.unwrap(record));
    kms.before.unwrap = () => {
      throw new Error('no');
    };
    await failureOf(loop.unwrap(record));
    await loop.close();
    expect(observer.remoteCalls.map(({ operation, code }) => `${operation} ${code}`)).toEqual([
      'open ok',
      'wrap ok',
      'unwrap ok',
      'unwrap throttled',
      'unwrap internal',
      'close ok',
    ]);
  });

  test('the error that a backend threw, for our own log', async () => {
    const kms = new MemoryKms();
    const { loop, observer } = openLoop(kms);
    const thrown = new Error('the provider’s own');
    kms.before.wrap = () => {
      throw thrown;
    };
    await failureOf(loop.wrap(LocalKey.generate()));
    expect(observer.remoteCalls.at(-1)?.error?.cause).toBe(thrown);
  });

  test('the facts that a backend reports, under its key', async () => {
    const kms = new MemoryKms();
    const { loop, observer } = openLoop(kms);
    await loop.wrap(LocalKey.generate());
    const fact = { kind: 'gauge', name: 'sessions', value: 3 } as const;
    kms.host?.report(fact);
    expect(observer.facts).toEqual([{ key: 'prod', fact }]);
  });
});

test('the host reads secret files in the name of the backend', async () => {
  const kms = new MemoryKms();
  await openLoop(kms).loop.wrap(LocalKey.generate());
  await expect(kms.host?.secretFile('/nowhere/at/all').read()).rejects.toMatchObject({
    code: 'unauthenticated',
    message: expect.stringMatching(/^memory: /),
  });
});

describe('close', () => {
  test('closes the backend once and ends its life', async () => {
    const kms = new MemoryKms();
    const { loop } = runLoop(kms);
    await until(() => loop.state.state === 'ready');
    const { signal } = kms.host!;
    expect(signal.aborted).toBe(false);
    await loop.close();
    expect(signal.aborted).toBe(true);
    expect(kms.calls.close).toBe(1);
  });

  test('of a loop that was never opened does nothing', async () => {
    const kms = new MemoryKms();
    await openLoop(kms).loop.close();
    expect(kms.totalCalls).toBe(0);
  });

  test('ends the loop', async () => {
    const kms = new MemoryKms();
    const { loop } = openLoop(kms);
    const running = loop.run();
    await until(() => loop.state.state === 'ready');
    await loop.close();
    await running;
  });

  test('closes a backend whose open was under way', async () => {
    const kms = new MemoryKms();
    const gate = new Gate();
    kms.before.open = gate.pass;
    const { loop } = runLoop(kms);
    await until(() => kms.calls.open === 1);
    await loop.close();
    gate.open();
    await until(() => kms.calls.close === 1);
  });

  test('of a failing key lets no further call begin, and reports nothing more', async () => {
    const kms = new MemoryKms();
    kms.before.open = () => {
      throw new BackendError('unavailable', 'down');
    };
    const { loop, observer } = openLoop(kms);
    const running = loop.run();
    await until(() => loop.state.state === 'failing');
    await loop.close();
    const { calls, reports } = { calls: kms.totalCalls, reports: observer.keyChanges.length };
    vi.advanceTimersByTime(60_000);
    await running;
    expect((await failureOf(loop.unwrap({ kekId: 'x', ciphertext: new Uint8Array(1) }))).code).toBe('unavailable');
    expect(kms.totalCalls).toBe(calls);
    expect(observer.keyChanges).toHaveLength(reports);
  });

  test('is no failure of a key whose call it cut short', async () => {
    const kms = new MemoryKms();
    const { loop, observer } = openLoop(kms);
    const running = loop.run();
    await until(() => loop.state.state === 'ready');
    kms.before.currentKekId = stall;
    const before = kms.calls.currentKekId;
    await until(() => kms.calls.currentKekId > before);
    await loop.close();
    await running;
    expect(observer.keyChanges.map(({ state }) => state)).toEqual(['ready']);
  });

  test('does not fail when the backend cannot be closed', async () => {
    const kms = new MemoryKms();
    kms.before.close = () => {
      throw new Error('no');
    };
    const { loop } = runLoop(kms);
    await until(() => loop.state.state === 'ready');
    await loop.close();
  });
});
