import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { BackendError, type BackendErrorCode } from '../src/backend-error.js';
import { ANNOTATION_NAME, type EnvelopeParts } from '../src/envelope.js';
import { KMS_CODE_OF, KmsError } from '../src/kms-error.js';
import { LocalKey } from '../src/local-key.js';
import { decodeEnvelope } from './decode-envelope.js';
import { Gate, MemoryKms, rejectWith, stall } from './memory-backend.js';
import {
  CLUSTER,
  memoryKey,
  ONE_TURN_MS,
  openQuietRing,
  openReadyRing,
  openRing,
  patience,
  sealedElsewhere,
} from './open-ring.js';
import { until } from './until.js';
import { hex } from './wire.js';

const SEED = new Uint8Array(32).fill(42);

// Ages and pauses of the ring are measured on a clock that a test turns; its timers are real, and short.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

const recordsOf = (parts: EnvelopeParts) => decodeEnvelope(parts, CLUSTER).records;
const annotationOf = (parts: EnvelopeParts) => hex(parts.annotations.get(ANNOTATION_NAME)!);

/** Waits until the loop has made so many turns that a rotation before them is confirmed and wrapped under. */
const severalTurns = async (kms: MemoryKms) => {
  const before = kms.calls.currentKekId;
  await until(() => kms.calls.currentKekId > before + 3);
};

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'opened',
    (error: unknown) => (error instanceof KmsError ? error.code : error),
  );

describe('before the first local key is wrapped', () => {
  test('Status says why, with an empty key id, and Encrypt is UNAVAILABLE at once', async () => {
    const kms = new MemoryKms();
    kms.before.open = () => {
      throw new BackendError('unauthenticated', 'memory: login: rejected');
    };
    const { service, ring } = openRing(kms);
    expect(service.status()).toMatchObject({ version: 'v2', keyId: '' });
    expect(service.status().healthz).not.toBe('ok');
    expect(() => service.encrypt(SEED)).toThrow(expect.objectContaining({ code: 'UNAVAILABLE' }));

    await until(() => ring.keyStates[0]?.state === 'failing');
    expect(service.status()).toMatchObject({ keyId: '' });
    expect(service.status().healthz).toContain('"prod"');
    expect(service.status().healthz).toContain('memory: login: rejected');
    expect(() => service.encrypt(SEED)).toThrow(expect.objectContaining({ code: 'UNAVAILABLE' }));
    expect(ring.heldLocalKeys).toBe(0);
  });

  test('a Decrypt waits for a KMS that comes up within its deadline', async () => {
    const kms = new MemoryKms();
    const sealed = await sealedElsewhere(kms, SEED);
    const gate = new Gate();
    kms.before.open = gate.pass;
    const { service } = openRing(kms);
    const opened = service.decrypt(sealed, patience);
    await until(() => kms.calls.open === 2);
    gate.open();
    expect(hex(await opened)).toBe(hex(SEED));
  });

  test('a Decrypt goes no further than its deadline', async () => {
    const kms = new MemoryKms();
    const sealed = await sealedElsewhere(kms, SEED);
    kms.before.open = stall;
    const { service } = openRing(kms);
    const deadline = new AbortController();
    const opened = codeOf(service.decrypt(sealed, deadline));
    deadline.abort();
    expect(await opened).toBe('CANCELLED');
  });

  test('a Decrypt tries by itself, though the loop still pauses', async () => {
    const kms = new MemoryKms();
    const sealed = await sealedElsewhere(kms, SEED);
    kms.before.currentKekId = () => {
      throw new BackendError('permission-denied', 'memory: read the KEK id: permission denied');
    };
    const { service, ring } = openRing(kms);
    await until(() => ring.keyStates[0]?.state === 'failing');
    expect(hex(await service.decrypt(sealed, patience))).toBe(hex(SEED));
    expect(ring.snapshot).toBeUndefined();
  });

  test('a Decrypt that found the KMS down opens once it is up', async () => {
    const kms = new MemoryKms();
    const sealed = await sealedElsewhere(kms, SEED);
    kms.before.open = () => {
      throw new BackendError('unavailable', 'memory: down');
    };
    const { service } = openRing(kms);
    expect(await codeOf(service.decrypt(sealed, patience))).toBe('UNAVAILABLE');
    delete kms.before.open;
    vi.advanceTimersByTime(1_000);
    expect(hex(await service.decrypt(sealed, patience))).toBe(hex(SEED));
  });

  test.each(['open', 'currentKekId', 'wrap', 'unwrap'] as const)(
    'a ring whose %s fails heals by itself',
    async (operation) => {
      const kms = new MemoryKms();
      kms.before[operation] = () => {
        throw new BackendError('unavailable', 'memory: down');
      };
      const { service, ring } = openRing(kms);
      await until(() => ring.keyStates[0]?.state === 'failing');
      expect(service.status().keyId).toBe('');
      kms.heal();
      vi.advanceTimersByTime(1_000);
      await until(() => service.status().healthz === 'ok');
      const sealed = service.encrypt(SEED);
      expect(sealed.keyId).toBe(service.status().keyId);
      expect(hex(await service.decrypt(sealed, patience))).toBe(hex(SEED));
    },
  );

  test.each(['open', 'currentKekId', 'wrap', 'unwrap'] as const)(
    'a KMS whose %s stalls is given up and tried again',
    async (operation) => {
      const kms = new MemoryKms();
      kms.before[operation] = stall;
      const { service, ring } = openRing(kms, { limits: { remoteCallMs: 20 } });
      await until(() => ring.keyStates[0]?.error?.code === 'unavailable');
      expect(() => service.encrypt(SEED)).toThrow(expect.objectContaining({ code: 'UNAVAILABLE' }));
      kms.heal();
      vi.advanceTimersByTime(1_000);
      await until(() => service.status().healthz === 'ok');
    },
  );
});

describe('once it seals', () => {
  test('Status, Encrypt and Decrypts of known local keys call the backend not once', async () => {
    const kms = new MemoryKms();
    const elsewhere = await sealedElsewhere(kms, SEED);
    const { service } = await openQuietRing(kms);
    await service.decrypt(elsewhere, patience);
    const calls = kms.totalCalls;
    for (let round = 0; round < 20; round += 1) {
      expect(service.status().healthz).toBe('ok');
      expect(service.health().healthz).toBe('ok');
      const sealed = service.encrypt(SEED);
      expect(hex(await service.decrypt(sealed, patience))).toBe(hex(SEED));
      expect(hex(await service.decrypt(elsewhere, patience))).toBe(hex(SEED));
    }
    expect(kms.totalCalls).toBe(calls);
  });

  test('the first local key costs one open, one reading of the KEK id, one wrap and one unwrap', async () => {
    const kms = new MemoryKms();
    await openQuietRing(kms);
    expect(kms.calls).toEqual({ open: 1, currentKekId: 1, wrap: 1, unwrap: 1, close: 0 });
  });

  test('a probe costs one reading of the KEK id and one unwrap', async () => {
    const kms = new MemoryKms();
    const { observer } = await openReadyRing(kms);
    await until(() => kms.calls.unwrap > 5);
    const operations = observer.remoteCalls.map(({ operation }) => operation).slice(0, 8);
    expect(operations).toEqual([
      'open',
      'currentKekId',
      'wrap',
      'unwrap',
      'currentKekId',
      'unwrap',
      'currentKekId',
      'unwrap',
    ]);
  });

  test('it goes on through an outage of the KMS, and says nothing of it in Status', async () => {
    const kms = new MemoryKms();
    const { service, ring, observer } = await openReadyRing(kms);
    const { keyId } = service.status();
    for (const operation of ['currentKekId', 'wrap', 'unwrap'] as const) kms.before[operation] = stallOrFail();
    await until(() => ring.keyStates[0]?.state === 'failing');
    expect(service.status()).toEqual({ version: 'v2', healthz: 'ok', keyId });
    expect(hex(await service.decrypt(service.encrypt(SEED), patience))).toBe(hex(SEED));
    kms.heal();
    await until(() => ring.keyStates[0]?.state === 'ready');
    expect(service.status().keyId).toBe(keyId);
    expect(observer.publications).toHaveLength(1);

    function stallOrFail() {
      return () => {
        throw new BackendError('unavailable', 'memory: down');
      };
    }
  });

  test('each seed gives another answer, also the same one', async () => {
    const { service } = await openQuietRing(new MemoryKms());
    const sealed = Array.from({ length: 50 }, () => hex(service.encrypt(SEED).ciphertext));
    expect(new Set(sealed).size).toBe(50);
  });

  test('all of its seeds share one annotation', async () => {
    const { service } = await openQuietRing(new MemoryKms());
    expect(annotationOf(service.encrypt(SEED))).toBe(annotationOf(service.encrypt(new Uint8Array(16))));
  });
});

describe('the key id', () => {
  test('is the same after a restart and on every node, under other local keys', async () => {
    const kms = new MemoryKms();
    const nodes = await Promise.all([1, 2, 3].map(() => openQuietRing(kms)));
    const sealed = nodes.map(({ service }) => service.encrypt(SEED));
    expect(new Set(sealed.map(({ keyId }) => keyId)).size).toBe(1);
    expect(new Set(sealed.map(annotationOf)).size).toBe(3);
    for (const { service } of nodes) {
      for (const parts of sealed) expect(hex(await service.decrypt(parts, patience))).toBe(hex(SEED));
    }
  });

  test('changes with the cluster, the generation, the name of the key and the KEK version', async () => {
    const kms = new MemoryKms();
    const keyIds = [
      (await sealedElsewhere(kms, SEED)).keyId,
      (await sealedElsewhere(kms, SEED, { cluster: 'prod-2' })).keyId,
      (await sealedElsewhere(kms, SEED, { generation: 2 })).keyId,
      (await sealedElsewhere(kms, SEED, { key: memoryKey(kms, 'other') })).keyId,
    ];
    kms.rotate();
    keyIds.push((await sealedElsewhere(kms, SEED)).keyId);
    expect(new Set(keyIds).size).toBe(5);
  });

  test('begins with the name of the key that writes', async () => {
    expect((await sealedElsewhere(new MemoryKms(), SEED)).keyId).toMatch(/^prod:[a-z2-7]{26}$/);
  });

  test('raised by generation, leaves old data readable', async () => {
    const kms = new MemoryKms();
    const old = await sealedElsewhere(kms, SEED, { generation: 1 });
    const { service } = await openQuietRing(kms, { generation: 2 });
    expect(service.status().keyId).not.toBe(old.keyId);
    expect(hex(await service.decrypt(old, patience))).toBe(hex(SEED));
  });
});

describe('rotation of the KEK', () => {
  test('makes a new local key under a new key id, and old data opens', async () => {
    const kms = new MemoryKms();
    const { service, observer } = await openReadyRing(kms);
    const old = service.encrypt(SEED);
    kms.rotate();
    await until(() => service.status().keyId !== old.keyId);
    const sealed = service.encrypt(SEED);
    expect(sealed.keyId).toBe(service.status().keyId);
    expect(recordsOf(sealed).map(({ kekId }) => kekId)).toEqual([kms.kekId]);
    expect(hex(decodeEnvelope(sealed, CLUSTER).commitment)).not.toBe(hex(decodeEnvelope(old, CLUSTER).commitment));
    const unwraps = kms.calls.unwrap;
    expect(hex(await service.decrypt(sealed, patience))).toBe(hex(SEED));
    expect(hex(await service.decrypt(old, patience))).toBe(hex(SEED));
    expect(kms.calls.unwrap).toBe(unwraps);
    expect(observer.publications).toMatchObject([
      { keyId: old.keyId, previousKeyId: undefined },
      { keyId: sealed.keyId, previousKeyId: old.keyId },
    ]);
    expect(observer.alarms).toEqual([]);
  });

  test('leaves old data readable on a node that came later', async () => {
    const kms = new MemoryKms();
    const old = await sealedElsewhere(kms, SEED);
    kms.rotate();
    const { service } = await openQuietRing(kms);
    expect(hex(await service.decrypt(old, patience))).toBe(hex(SEED));
  });

  test('that another node saw first is tried', async () => {
    const kms = new MemoryKms();
    const { service } = await openQuietRing(kms);
    kms.rotate();
    const ahead = await sealedElsewhere(kms, SEED);
    expect(ahead.keyId).not.toBe(service.status().keyId);
    expect(hex(await service.decrypt(ahead, patience))).toBe(hex(SEED));
  });

  test('that is read once and not again changes nothing', async () => {
    const kms = new MemoryKms();
    const { service, observer } = await openReadyRing(kms);
    const { keyId } = service.status();
    let reading = 0;
    kms.answers.currentKekId = (kekId) => ((reading += 1) % 2 === 0 ? kekId : 'memory/v2');
    await until(() => reading > 10);
    expect(service.status().keyId).toBe(keyId);
    expect(observer.publications).toHaveLength(1);
    expect(kms.calls.wrap).toBe(1);
  });

  test('that cannot be wrapped under leaves the old local key sealing, until it can', async () => {
    const kms = new MemoryKms();
    const { service, ring } = await openReadyRing(kms);
    const { keyId } = service.status();
    kms.before.wrap = () => {
      throw new BackendError('key-disabled', 'memory: wrap: disabled');
    };
    kms.rotate();
    await until(() => ring.keyStates[0]?.error?.code === 'key-disabled');
    expect(service.status()).toMatchObject({ healthz: 'ok', keyId });
    expect(service.encrypt(SEED).keyId).toBe(keyId);
    delete kms.before.wrap;
    await until(() => service.status().keyId !== keyId);
  });

  test('under load: the key id of each Encrypt is that of the Status before it', async () => {
    const kms = new MemoryKms();
    const { service } = await openReadyRing(kms, { publish: { quietMs: 5_000, latestMs: 60_000 } });
    const sealed: EnvelopeParts[] = [];
    for (let rotations = 0; rotations < 5; rotations += 1) {
      const { keyId } = service.status();
      const wraps = kms.calls.wrap;
      kms.rotate();
      await severalTurns(kms);
      expect(kms.calls.wrap).toBe(wraps + 1);
      // A new local key waits, and the API server, which takes its time, still gets what Status said.
      vi.advanceTimersByTime(4_999);
      const parts = service.encrypt(SEED);
      expect(parts.keyId).toBe(keyId);
      sealed.push(parts);
    }
    for (const parts of sealed) expect(hex(await service.decrypt(parts, patience))).toBe(hex(SEED));
  });

  test('changes snapshot and key id together once Status has been quiet for long enough', async () => {
    const kms = new MemoryKms();
    const { service, ring } = await openReadyRing(kms, { publish: { quietMs: 10, latestMs: 1_000_000 } });
    const old = service.status().keyId;
    const oldSnapshot = ring.snapshot!;
    kms.rotate();
    await severalTurns(kms);
    expect(ring.snapshot).toBe(oldSnapshot);
    expect(ring.heldLocalKeys).toBe(2);
    vi.advanceTimersByTime(10);
    await until(() => ring.snapshot !== oldSnapshot);
    expect(ring.snapshot?.keyId).not.toBe(old);
    expect(service.encrypt(SEED).keyId).toBe(service.status().keyId);
    expect(ring.snapshot?.records.map(({ kekId }) => kekId)).toEqual([kms.kekId]);
    expect(recordsOf(service.encrypt(SEED)).map(({ kekId }) => kekId)).toEqual([kms.kekId]);
    expect(ring.heldLocalKeys).toBe(2);
  });

  test('twice before the first was published destroys the local key that never sealed', async () => {
    const kms = new MemoryKms();
    const { service, ring } = await openReadyRing(kms, { publish: { quietMs: 5_000, latestMs: 1_000_000 } });
    const unwrapped: LocalKey[] = [];
    kms.answers.unwrap = (plaintext) => {
      unwrapped.push(LocalKey.fromBytes(plaintext));
      return plaintext;
    };
    service.status();
    kms.rotate();
    await severalTurns(kms);
    const waiting = ring.find(unwrapped.at(-1)!.commitment);
    expect(waiting).not.toBe(ring.snapshot?.localKey);
    expect(waiting?.seal(SEED, SEED)).toBeDefined();
    kms.rotate();
    await severalTurns(kms);
    expect(() => waiting?.seal(SEED, SEED)).toThrow();
    expect(ring.heldLocalKeys).toBe(2);
    expect(hex(await service.decrypt(service.encrypt(SEED), patience))).toBe(hex(SEED));
  });

  test('back to an earlier version reports the earlier key id again, under a new local key, with an alarm', async () => {
    const kms = new MemoryKms();
    const first = kms.kekId;
    const { service, observer } = await openReadyRing(kms);
    const a = service.encrypt(SEED);
    kms.rotate();
    const b = await until(() => service.status().keyId !== a.keyId && service.encrypt(SEED));
    expect(observer.alarms).toHaveLength(0);
    kms.use(first);
    await until(() => service.status().keyId !== b.keyId);
    const again = service.encrypt(SEED);
    expect(again.keyId).toBe(a.keyId);
    expect(annotationOf(again)).not.toBe(annotationOf(a));
    expect(observer.alarms).toHaveLength(1);
    expect(observer.alarms[0]).toContain(a.keyId);
    for (const parts of [a, b, again]) expect(hex(await service.decrypt(parts, patience))).toBe(hex(SEED));
  });
});

describe('Decrypts of unknown local keys', () => {
  test('N at a time that need K local keys make K unwraps', async () => {
    const kms = new MemoryKms();
    const sealed = await Promise.all(Array.from({ length: 7 }, () => sealedElsewhere(kms, SEED)));
    const { service, ring } = await openQuietRing(kms);
    const gate = new Gate();
    kms.before.unwrap = gate.pass;
    const unwraps = kms.calls.unwrap;
    const opened = Promise.all(
      Array.from({ length: 70 }, (_, index) => service.decrypt(sealed[index % sealed.length]!, patience)),
    );
    expect(ring.waitingDecrypts).toBe(70);
    gate.open();
    expect(new Set((await opened).map(hex))).toEqual(new Set([hex(SEED)]));
    expect(kms.calls.unwrap).toBe(unwraps + 7);
    expect(ring.waitingDecrypts).toBe(0);
    expect(ring.heldLocalKeys).toBe(8);
  });

  test('above the cap are RESOURCE_EXHAUSTED, and Status and Encrypt answer all the while', async () => {
    const kms = new MemoryKms();
    const sealed = await sealedElsewhere(kms, SEED);
    const { service, ring } = await openQuietRing(kms, { limits: { waitingDecrypts: 3 } });
    const gate = new Gate();
    kms.before.unwrap = gate.pass;
    const waiting = [1, 2, 3].map(() => service.decrypt(sealed, patience));
    expect(ring.waitingDecrypts).toBe(3);
    expect(await codeOf(service.decrypt(sealed, patience))).toBe('RESOURCE_EXHAUSTED');
    expect(service.status().healthz).toBe('ok');
    const own = service.encrypt(SEED);
    expect(hex(await service.decrypt(own, patience))).toBe(hex(SEED));
    gate.open();
    await Promise.all(waiting);
  });

  test('fewer are held than asked for, when memory for no more is allowed, and all open', async () => {
    const kms = new MemoryKms();
    const sealed = await Promise.all(Array.from({ length: 20 }, () => sealedElsewhere(kms, SEED)));
    const { service, ring } = await openQuietRing(kms, { limits: { heldLocalKeys: 2, unwrapConcurrency: 20 } });
    const opened = await Promise.all(sealed.map((parts) => service.decrypt(parts, patience)));
    expect(new Set(opened.map(hex))).toEqual(new Set([hex(SEED)]));
    expect(ring.heldLocalKeys).toBe(3);
  });

  test('after a failure are answered the same without a call for 1 s', async () => {
    const kms = new MemoryKms();
    const sealed = await sealedElsewhere(kms, SEED);
    const { service } = await openQuietRing(kms);
    kms.before.unwrap = () => {
      throw new BackendError('throttled', 'memory: slow down');
    };
    const unwraps = kms.calls.unwrap;
    for (let time = 0; time < 5; time += 1) {
      expect(await codeOf(service.decrypt(sealed, patience))).toBe('RESOURCE_EXHAUSTED');
    }
    expect(kms.calls.unwrap).toBe(unwraps + 1);
    delete kms.before.unwrap;
    vi.advanceTimersByTime(999);
    expect(await codeOf(service.decrypt(sealed, patience))).toBe('RESOURCE_EXHAUSTED');
    vi.advanceTimersByTime(1);
    expect(hex(await service.decrypt(sealed, patience))).toBe(hex(SEED));
  });

  test('a tampered envelope does not make the true one fail', async () => {
    const kms = new MemoryKms();
    const sealed = await sealedElsewhere(kms, SEED);
    const { service } = await openQuietRing(kms);
    const annotation = Uint8Array.from(sealed.annotations.get(ANNOTATION_NAME)!);
    annotation[annotation.length - 1]! ^= 1;
    const tampered = { ...sealed, annotations: new Map([[ANNOTATION_NAME, annotation]]) };
    expect(await codeOf(service.decrypt(tampered, patience))).toBe('INVALID_ARGUMENT');
    expect(hex(await service.decrypt(sealed, patience))).toBe(hex(SEED));
  });

  test('a KMS that unwraps to another local key is found out by the commitment', async () => {
    const kms = new MemoryKms();
    const sealed = await sealedElsewhere(kms, SEED);
    const { service, ring } = await openQuietRing(kms);
    kms.answers.unwrap = () => new Uint8Array(32).fill(1);
    await expect(service.decrypt(sealed, patience)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('another local key'),
    });
    expect(ring.heldLocalKeys).toBe(1);
  });

  test('of a key that the config does not name are FAILED_PRECONDITION, which says the name, without a call', async () => {
    const kms = new MemoryKms();
    const sealed = await sealedElsewhere(kms, SEED, { key: memoryKey(kms, 'elsewhere') });
    const { service } = await openQuietRing(kms);
    const calls = kms.totalCalls;
    await expect(service.decrypt(sealed, patience)).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      message: expect.stringContaining('"elsewhere"'),
    });
    expect(kms.totalCalls).toBe(calls);
  });
});

describe('the gRPC code of each failure of a backend', () => {
  const codes: Record<BackendErrorCode, string> = {
    unavailable: 'UNAVAILABLE',
    throttled: 'RESOURCE_EXHAUSTED',
    unauthenticated: 'UNAUTHENTICATED',
    'permission-denied': 'PERMISSION_DENIED',
    'key-not-found': 'NOT_FOUND',
    'key-disabled': 'FAILED_PRECONDITION',
    'invalid-ciphertext': 'INVALID_ARGUMENT',
    internal: 'INTERNAL',
  };

  test('is settled for every one', () => {
    expect(KMS_CODE_OF).toEqual(codes);
  });

  test.each(Object.entries(codes))('%s is %s, and the message names the key', async (code, expected) => {
    const kms = new MemoryKms();
    const sealed = await sealedElsewhere(kms, SEED);
    const { service } = await openQuietRing(kms);
    kms.before.unwrap = () => {
      throw new BackendError(code as BackendErrorCode, 'memory: unwrap: said why');
    };
    await expect(service.decrypt(sealed, patience)).rejects.toMatchObject({
      name: 'KmsError',
      code: expected,
      message: 'key "prod": memory: unwrap: said why',
    });
  });

  test('a call that is not answered in time is UNAVAILABLE', async () => {
    const kms = new MemoryKms();
    const sealed = await sealedElsewhere(kms, SEED);
    const { service } = await openQuietRing(kms, { limits: { remoteCallMs: 20 } });
    kms.before.unwrap = stall;
    expect(await codeOf(service.decrypt(sealed, patience))).toBe('UNAVAILABLE');
  });
});

describe('a backend that breaks the contract', () => {
  const SECRET = 'hunter2 0123456789abcdef';
  const foreign: Record<string, unknown> = {
    'an Error': new Error(SECRET),
    'a subclass of Error': new (class ProviderError extends Error {
      override readonly name = 'ProviderError';
      readonly code = 'unavailable';
    })(SECRET),
    'an Error with a cause': new Error(SECRET, { cause: new Error(SECRET) }),
    'an AggregateError': new AggregateError([new Error(SECRET)], SECRET),
    'a text': SECRET,
    'an object': { message: SECRET, toString: () => SECRET },
    'an Error that calls itself a BackendError with a code of its own': Object.assign(new Error(SECRET), {
      name: 'BackendError',
      code: SECRET,
    }),
    undefined: undefined,
  };
  test.each(Object.entries(foreign))('%s: nothing of what it says reaches the API server', async (_kind, thrown) => {
    const kms = new MemoryKms();
    const sealed = await sealedElsewhere(kms, SEED);
    const { service, observer } = await openQuietRing(kms);
    kms.before.unwrap = rejectWith(thrown);
    const error: unknown = await service.decrypt(sealed, patience).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ name: 'KmsError', code: 'INTERNAL', message: expect.stringContaining('"prod"') });
    expect((error as Error).message).not.toContain('hunter2');
    // Our own log gets it whole.
    expect(observer.remoteCalls.at(-1)?.error?.cause).toBe(thrown);
  });

  test('nor Status', async () => {
    const kms = new MemoryKms();
    kms.before.open = () => {
      throw new Error(SECRET);
    };
    const { service, ring } = openRing(kms);
    await until(() => ring.keyStates[0]?.state === 'failing');
    expect(service.status().healthz).toContain('"prod"');
    expect(service.status().healthz).not.toContain('hunter2');
  });

  test('by unwrapping to another key: nothing is ever published', async () => {
    const kms = new MemoryKms();
    kms.answers.unwrap = () => new Uint8Array(32).fill(1);
    const { service, ring, observer } = openRing(kms);
    await until(() => kms.calls.wrap > 3);
    expect(ring.snapshot).toBeUndefined();
    expect(observer.publications).toEqual([]);
    expect(() => service.encrypt(SEED)).toThrow(expect.objectContaining({ code: 'UNAVAILABLE' }));
    expect(service.status().healthz).toContain('"prod"');
  });

  test('by unwrapping to another key after rotation: the new local key is not published', async () => {
    const kms = new MemoryKms();
    const { service, ring, observer } = await openReadyRing(kms);
    const { keyId } = service.status();
    kms.answers.unwrap = () => new Uint8Array(32).fill(1);
    kms.rotate();
    const wraps = kms.calls.wrap;
    await until(() => kms.calls.wrap > wraps + 2);
    expect(ring.keyStates[0]?.state).toBe('failing');
    expect(service.status().keyId).toBe(keyId);
    expect(observer.publications).toHaveLength(1);
  });

  test('by replacing the KEK beneath its name: the probe says so, and what is in memory goes on', async () => {
    const kms = new MemoryKms();
    const { service, ring } = await openReadyRing(kms);
    kms.replaceKek();
    await until(() => ring.keyStates[0]?.error?.code === 'invalid-ciphertext');
    expect(hex(await service.decrypt(service.encrypt(SEED), patience))).toBe(hex(SEED));
  });

  test('by unwrapping to another key from one day on: the probe says so, and what is in memory goes on', async () => {
    const kms = new MemoryKms();
    const { service, ring } = await openReadyRing(kms);
    kms.answers.unwrap = () => new Uint8Array(32).fill(1);
    await until(() => ring.keyStates[0]?.error?.code === 'invalid-ciphertext');
    expect(service.status().healthz).toBe('ok');
    expect(hex(await service.decrypt(service.encrypt(SEED), patience))).toBe(hex(SEED));
    kms.heal();
    await until(() => ring.keyStates[0]?.state === 'ready');
  });

  test('by nothing: the longest names and the longest wrapped key still make an envelope', async () => {
    const kms = new MemoryKms();
    const settings = { cluster: 'c'.repeat(512), key: memoryKey(kms, 'k'.repeat(512)) };
    const long = new Map<string, Uint8Array>();
    kms.answers.wrap = ({ ciphertext }) => {
      const padded = new Uint8Array(2_048);
      padded.set(ciphertext);
      long.set(hex(padded), ciphertext);
      return { kekId: 'x'.repeat(512), ciphertext: padded };
    };
    const unwrapNow = kms.unwrapNow.bind(kms);
    kms.unwrapNow = ({ ciphertext }) => unwrapNow({ kekId: kms.kekId, ciphertext: long.get(hex(ciphertext))! });
    const sealed = await sealedElsewhere(kms, SEED, settings);
    const { service } = await openQuietRing(kms, settings);
    expect(hex(await service.decrypt(sealed, patience))).toBe(hex(SEED));
  });

  test('by nothing: names that no envelope can hold make the key fail, and nothing is published', async () => {
    const { ring } = openRing(new MemoryKms(), { cluster: 'c'.repeat(513) });
    await until(() => ring.keyStates[0]?.error?.code === 'internal');
    expect(ring.snapshot).toBeUndefined();
  });

  test('by a buffer that it uses again: what was sealed opens elsewhere', async () => {
    const kms = new MemoryKms();
    const shared = Buffer.alloc(60);
    kms.answers.wrap = ({ kekId, ciphertext }) => {
      shared.set(ciphertext);
      return { kekId, ciphertext: shared };
    };
    kms.answers.unwrap = (plaintext) => {
      shared.fill(0);
      return plaintext;
    };
    const sealed = await sealedElsewhere(kms, SEED);
    const { service, ring } = await openReadyRing(kms);
    await until(() => kms.calls.unwrap > 5);
    expect(ring.keyStates[0]?.state).toBe('ready');
    expect(hex(await service.decrypt(sealed, patience))).toBe(hex(SEED));
  });
});

test('an envelope of another cluster is refused without a call, though the KEK is shared', async () => {
  const kms = new MemoryKms();
  const sealed = await sealedElsewhere(kms, SEED, { cluster: 'prod-2' });
  const { service } = await openQuietRing(kms);
  const calls = kms.totalCalls;
  expect(await codeOf(service.decrypt(sealed, patience))).toBe('INVALID_ARGUMENT');
  expect(kms.totalCalls).toBe(calls);
});

test('closing ends the loop, closes the backend and destroys what was held', async () => {
  const kms = new MemoryKms();
  const sealed = await sealedElsewhere(kms, SEED);
  const { ring, service } = await openReadyRing(kms);
  await service.decrypt(sealed, patience);
  const closes = kms.calls.close;
  await ring.close();
  expect(kms.calls.close).toBe(closes + 1);
  expect(kms.host?.signal.aborted).toBe(true);
  expect(ring.heldLocalKeys).toBe(1);
  const calls = kms.totalCalls;
  expect(await codeOf(service.decrypt(sealed, patience))).toBe('UNAVAILABLE');
  expect(kms.totalCalls).toBe(calls);
});

test('closing publishes nothing any more, at whatever moment of a renewal it comes', async () => {
  for (let ticks = 0; ticks < 40; ticks += 1) {
    const kms = new MemoryKms();
    const { ring, observer } = openRing(kms);
    let published: number | undefined;
    const closeSoon = async () => {
      for (let tick = 0; tick < ticks; tick += 1) await Promise.resolve();
      published = observer.publications.length;
      await ring.close();
    };
    kms.answers.unwrap = (plaintext) => {
      if (published === undefined) void closeSoon();
      return plaintext;
    };
    await until(() => published !== undefined);
    await new Promise((resolve) => setImmediate(resolve));
    expect(observer.publications).toHaveLength(published!);
  }
});

test('the ring is made at once, whatever the backend does', () => {
  const kms = new MemoryKms();
  kms.before.open = stall;
  const { ring } = openRing(kms, { limits: { probeIntervalMs: ONE_TURN_MS, remoteCallMs: 50 } });
  expect(ring.keyStates).toHaveLength(1);
  expect(ring.keyStates[0]?.state).toBe('opening');
});
