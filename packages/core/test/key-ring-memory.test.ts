import { chmod, mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { BackendError } from '../src/backend-error.js';
import { ANNOTATION_NAME, encodeAnnotation, type EnvelopeParts } from '../src/envelope.js';
import { Remembered } from '../src/remembered.js';
import { Rescue } from '../src/rescue.js';
import { decodeEnvelope } from './decode-envelope.js';
import { Gate, MemoryKms, stall } from './memory-backend.js';
import { CLUSTER, memoryKey, openReadyRing, openRing, patience, ringConfig, sealedElsewhere } from './open-ring.js';
import { temporaryDirectory } from './temporary-directory.js';
import { until } from './until.js';
import { hex } from './wire.js';

const SEED = new Uint8Array(32).fill(42);

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** What the server opens from `state.path`. */
async function openState(directory: string, alarms: string[] = []) {
  const options = { directory, cluster: CLUSTER, alarm: (text: string) => alarms.push(text) };
  return { remembered: await Remembered.open({ ...options, capacity: 100 }), rescue: await Rescue.open(options) };
}

const recordsOf = (parts: EnvelopeParts) => decodeEnvelope(parts, CLUSTER).records;

/** Envelopes of several local keys, opened once by a ring that remembers them. */
async function rememberedEnvelopes(kms: MemoryKms, directory: string, count = 3): Promise<EnvelopeParts[]> {
  const envelopes = [];
  for (let index = 0; index < count; index += 1) envelopes.push(await sealedElsewhere(kms, SEED));
  const { ring, service } = await openReadyRing(kms, await openState(directory));
  for (const parts of envelopes) await service.decrypt(parts, patience);
  envelopes.push(service.encrypt(SEED));
  await ring.close();
  return envelopes;
}

/** Turns of the loop, an interval apart. */
async function turns(kms: MemoryKms, count: number): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) {
    vi.advanceTimersByTime(60);
    const before = kms.calls.currentKekId;
    await until(() => kms.calls.currentKekId > before);
  }
}

describe('what is remembered', () => {
  test('is unwrapped at start, before anybody asks: a Decrypt then calls nothing', async () => {
    const kms = new MemoryKms();
    const directory = await temporaryDirectory();
    const envelopes = await rememberedEnvelopes(kms, directory);
    const { ring, service } = await openReadyRing(kms, {
      ...(await openState(directory)),
      limits: { probeIntervalMs: 9e6 },
    });
    await until(() => ring.heldLocalKeys === envelopes.length + 1);
    const calls = kms.totalCalls;
    for (const parts of envelopes) expect(hex(await service.decrypt(parts, patience))).toBe(hex(SEED));
    expect(kms.totalCalls).toBe(calls);
  });

  test('never seals: what is sealed after a start is under a new local key', async () => {
    const kms = new MemoryKms();
    const directory = await temporaryDirectory();
    const envelopes = await rememberedEnvelopes(kms, directory);
    const commitments = envelopes.map((parts) => hex(decodeEnvelope(parts, CLUSTER).commitment));
    const { service, ring, observer } = await openReadyRing(kms, await openState(directory));
    await until(() => ring.heldLocalKeys > envelopes.length);
    expect(observer.publications).toHaveLength(1);
    expect(commitments).not.toContain(hex(decodeEnvelope(service.encrypt(SEED), CLUSTER).commitment));
  });

  test('is unwrapped so many at a time as the limit says', async () => {
    const kms = new MemoryKms();
    const directory = await temporaryDirectory();
    await rememberedEnvelopes(kms, directory, 12);
    let now = 0;
    let most = 0;
    kms.before.unwrap = async () => {
      now += 1;
      most = Math.max(most, now);
      await new Promise((resolve) => setTimeout(resolve, 5));
      now -= 1;
    };
    const { ring } = await openReadyRing(kms, { ...(await openState(directory)), limits: { unwrapConcurrency: 3 } });
    await until(() => ring.heldLocalKeys > 12);
    expect(most).toBeLessThanOrEqual(3);
  });

  test('waits for a KMS that is away, and needs no restart then', async () => {
    const kms = new MemoryKms();
    const directory = await temporaryDirectory();
    const envelopes = await rememberedEnvelopes(kms, directory);
    kms.before.unwrap = () => {
      throw new BackendError('unavailable', 'memory: down');
    };
    const { ring } = openRing(kms, await openState(directory));
    await until(() => ring.keyStates[0]?.state === 'failing');
    kms.heal();
    await until(() => {
      vi.advanceTimersByTime(1_000);
      return ring.heldLocalKeys > envelopes.length;
    });
  });

  test.each([
    ['missing', undefined],
    ['truncated', '{"format":1,"clus'],
    ['empty', ''],
    ['of another cluster', '{"format":1,"cluster":"other","numbers":{},"annotations":[]}'],
    ['of a newer format', '{"format":2}'],
    ['not of annotations', '{"format":1,"cluster":"prod-1","numbers":{},"annotations":["AAAA"]}'],
  ])('costs nothing but time when the file is %s', async (_what, content) => {
    const kms = new MemoryKms();
    const directory = await temporaryDirectory();
    if (content !== undefined) await writeFile(path.join(directory, 'remembered.json'), content, { mode: 0o600 });
    const alarms: string[] = [];
    const parts = await sealedElsewhere(kms, SEED);
    const { service, ring } = await openReadyRing(kms, await openState(directory, alarms));
    expect(hex(await service.decrypt(parts, patience))).toBe(hex(SEED));
    expect(alarms).toHaveLength(content === undefined ? 0 : 1);
    await ring.close();
    const files = await readdir(directory);
    expect(files.filter((name) => name.includes('unusable'))).toHaveLength(content === undefined ? 0 : 1);
    expect(files).toContain('remembered.json');
  });

  test('is not taken from a file that others can write', async () => {
    const kms = new MemoryKms();
    const directory = await temporaryDirectory();
    await rememberedEnvelopes(kms, directory);
    await chmod(path.join(directory, 'remembered.json'), 0o666);
    const alarms: string[] = [];
    const { remembered } = await openState(directory, alarms);
    expect(remembered.size).toBe(0);
    expect(alarms[0]).toContain('lets in too many');
  });

  test('holds no secret: neither seeds nor local keys, in any encoding', async () => {
    const kms = new MemoryKms();
    const directory = await temporaryDirectory();
    await rememberedEnvelopes(kms, directory);
    const text = await readFile(path.join(directory, 'remembered.json'), 'latin1');
    for (const secret of [SEED, ...kms.lent]) {
      for (const encoding of ['hex', 'base64', 'latin1'] as const) {
        expect(text).not.toContain(Buffer.from(secret).toString(encoding));
      }
    }
  });

  test('that cannot be written raises one alarm and stops nothing', async () => {
    const kms = new MemoryKms();
    const directory = path.join(await temporaryDirectory(), 'state');
    const alarms: string[] = [];
    const state = await openState(directory, alarms);
    await writeFile(directory, 'a file where the directory should be');
    const { service, ring } = await openReadyRing(kms, state);
    expect(hex(await service.decrypt(service.encrypt(SEED), patience))).toBe(hex(SEED));
    await ring.close();
    expect(alarms).toHaveLength(1);
  });
});

describe('a key that remembered local keys need', () => {
  test('may not leave the config until its name is retired', async () => {
    const kms = new MemoryKms();
    const directory = await temporaryDirectory();
    await rememberedEnvelopes(kms, directory);
    const keys = [memoryKey(new MemoryKms(), 'new')];
    const state = await openState(directory);
    expect(() => openRing(kms, { ...state, keys })).toThrow(
      expect.objectContaining({ name: 'ConfigError', message: expect.stringContaining('"prod"') }),
    );
    expect(() => openRing(kms, { ...state, keys, retired: ['prod'] })).not.toThrow();
  });

  test('is forgotten once it is retired, so that its name can leave the list too', async () => {
    const kms = new MemoryKms();
    const directory = await temporaryDirectory();
    await rememberedEnvelopes(kms, directory);
    const other = new MemoryKms();
    const keys = [memoryKey(other, 'new')];
    const { ring } = await openReadyRing(other, { ...(await openState(directory)), keys, retired: ['prod'] });
    await ring.close();
    const again = await openState(directory);
    expect(() => openRing(other, { ...again, keys })).not.toThrow();
  });

  test('may not leave it by a reload either', async () => {
    const kms = new MemoryKms();
    const directory = await temporaryDirectory();
    await rememberedEnvelopes(kms, directory);
    const { ring } = await openReadyRing(kms, await openState(directory));
    const config = ringConfig([memoryKey(new MemoryKms(), 'new')]);
    await expect(ring.reconfigure(config)).rejects.toThrow(
      expect.objectContaining({ name: 'ConfigError', message: expect.stringContaining('"prod"') }),
    );
    expect(ring.keyStates.map(({ name }) => name)).toEqual(['prod']);
    await ring.reconfigure({ ...config, retired: ['prod'] });
    expect(ring.keyStates.map(({ name }) => name)).toEqual(['new']);
  });

  test('is not forgotten by a config that retires it and is refused for another reason', async () => {
    const kms = new MemoryKms();
    const directory = await temporaryDirectory();
    await rememberedEnvelopes(kms, directory);
    const state = await openState(directory);
    const { ring } = await openReadyRing(kms, state);
    const { size } = state.remembered;
    const down = new MemoryKms();
    down.before.open = () => {
      throw new BackendError('permission-denied', 'memory: no');
    };
    await expect(ring.reconfigure({ ...ringConfig([memoryKey(down, 'new')]), retired: ['prod'] })).rejects.toThrow();
    expect(state.remembered.size).toBe(size);
  });

  test('once retired, keeps nobody waiting for what is said of the others', async () => {
    const retired = new MemoryKms();
    const kms = new MemoryKms();
    const directory = await temporaryDirectory();
    const { remembered, rescue } = await openState(directory);
    const parts = await sealedElsewhere(retired, SEED, { key: memoryKey(retired, 'old') });
    // Nothing is ever removed from what was rescued.
    await rescue.add([decodeEnvelope(parts, CLUSTER)]);
    remembered.remember(decodeEnvelope(await sealedElsewhere(kms, SEED), CLUSTER));
    await remembered.close();
    const { observer } = openRing(new MemoryKms(), { ...(await openState(directory)), retired: ['old'] });
    await until(() => observer.alarms.some((text) => text.includes('another key stands under that name')));
  });

  test('is another than before under the same name: that is noticed and said', async () => {
    const kms = new MemoryKms();
    const directory = await temporaryDirectory();
    await rememberedEnvelopes(kms, directory);
    const { observer } = await openReadyRing(new MemoryKms(), await openState(directory));
    await until(() => observer.alarms.some((text) => text.includes('another key stands under that name')));
  });
});

describe('a KEK version that is destroyed', () => {
  async function destroyed() {
    const kms = new MemoryKms();
    const directory = await temporaryDirectory();
    const old = await sealedElsewhere(kms, SEED);
    const state = await openState(directory);
    const { ring, service, observer } = await openReadyRing(kms, state);
    await service.decrypt(old, patience);
    kms.rotate();
    await until(() => ring.snapshot?.records[0]?.kekId === 'memory/v2');
    kms.destroy('memory/v1');
    return { kms, directory, old, ring, service, observer };
  }

  test('is rescued after three failures: alarm, records under the KEK that works, and a restart still reads everything', async () => {
    const { kms, directory, old, ring, service, observer } = await destroyed();
    const keyId = ring.snapshot?.keyId;
    await turns(kms, 2);
    expect(ring.rescuedLocalKeys).toBe(0);
    await turns(kms, 3);
    await until(() => ring.rescuedLocalKeys === 2);
    expect(observer.alarms.join()).toContain('kubectl get secrets --all-namespaces -o json | kubectl replace -f -');
    expect(ring.standingAlarms.join()).toContain('memory/v1');
    expect(ring.snapshot?.keyId).toBe(keyId);
    expect(service.status().healthz).toBe('ok');
    await ring.close();

    const restarted = await openReadyRing(kms, await openState(directory));
    expect(hex(await restarted.service.decrypt(old, patience))).toBe(hex(SEED));
  });

  test('opens by what was rescued when a Decrypt asks for it, before anything else has', async () => {
    const { kms, directory, old, ring } = await destroyed();
    await turns(kms, 5);
    await until(() => ring.rescuedLocalKeys === 2);
    await ring.close();
    // Without what is remembered nothing is unwrapped at start.
    const { rescue } = await openState(directory);
    const restarted = await openReadyRing(kms, { rescue });
    expect(restarted.ring.heldLocalKeys).toBe(1);
    expect(hex(await restarted.service.decrypt(old, patience))).toBe(hex(SEED));
  });

  test('takes nothing with it that it had rescued itself: that is wrapped once more, also after a restart', async () => {
    const { kms, directory, old, ring } = await destroyed();
    await turns(kms, 5);
    await until(() => ring.rescuedLocalKeys === 2);
    await ring.close();
    const second = await openReadyRing(kms, await openState(directory));
    // Nobody has asked for it: it is in memory all the same.
    await until(() => second.ring.heldLocalKeys >= 3);
    kms.rotate();
    await until(() => second.ring.snapshot?.records[0]?.kekId === 'memory/v3');
    kms.destroy('memory/v2');
    await turns(kms, 5);
    await until(() => second.ring.standingAlarms.join().includes('memory/v2'));
    await second.ring.close();

    const third = await openReadyRing(kms, await openState(directory));
    expect(hex(await third.service.decrypt(old, patience))).toBe(hex(SEED));
  });

  test('is rescued to the end when the plugin is told to stop meanwhile', async () => {
    const { kms, directory, old, ring } = await destroyed();
    const gate = new Gate();
    kms.before.wrap = gate.pass;
    const { wrap: before } = kms.calls;
    await turns(kms, 2);
    await until(() => {
      vi.advanceTimersByTime(60);
      return kms.calls.wrap > before;
    });
    const closed = ring.close();
    gate.open();
    await closed;
    const restarted = await openReadyRing(kms, await openState(directory));
    expect(hex(await restarted.service.decrypt(old, patience))).toBe(hex(SEED));
  });

  test('is rescued under the keys that answer while the KMS of another hangs, and that is on disk before', async () => {
    const [kms, b, hanging] = [new MemoryKms(), new MemoryKms(), new MemoryKms()];
    const directory = await temporaryDirectory();
    const keys = [
      memoryKey(kms, 'prod'),
      memoryKey(hanging, 'hanging', { role: 'recover' }),
      memoryKey(b, 'b', { role: 'recover' }),
    ];
    const old = await sealedElsewhere(kms, SEED, { key: memoryKey(kms, 'prod') });
    const { ring, service, observer } = await openReadyRing(kms, { ...(await openState(directory)), keys });
    await service.decrypt(old, patience);
    hanging.before.wrap = stall;
    kms.destroy(kms.kekId);
    const onDisk = async () => (await openState(directory)).rescue.recordsOf(decodeEnvelope(old, CLUSTER).commitment);
    await until(() => {
      vi.advanceTimersByTime(60);
      return ring.rescuedLocalKeys > 0;
    });
    let names: readonly string[] = [];
    await until(() => {
      void onDisk().then((records) => (names = records.map(({ keyName }) => keyName)));
      return names.length > 0;
    });
    expect(names).toEqual(['b']);
    // Said before, for whoever would restart it now.
    expect(observer.alarms.join()).toContain('Restart nothing');
    expect(observer.alarms.join()).not.toContain('were wrapped');
  });

  test('is not rescued when it comes back in time', async () => {
    const { kms, ring } = await destroyed();
    await turns(kms, 2);
    kms.restore('memory/v1');
    await turns(kms, 4);
    expect(ring.rescuedLocalKeys).toBe(0);
  });

  test('without a state directory is pinned in memory, beyond the capacity, and the alarm says what that is worth', async () => {
    const kms = new MemoryKms();
    const old = await sealedElsewhere(kms, SEED);
    const { ring, service, observer } = await openReadyRing(kms, { limits: { heldLocalKeys: 2 } });
    await service.decrypt(old, patience);
    kms.rotate();
    await until(() => ring.snapshot?.records[0]?.kekId === 'memory/v2');
    kms.destroy('memory/v1');
    await turns(kms, 5);
    await until(() => observer.alarms.some((text) => text.includes('state.path')));
    for (let others = 0; others < 3; others += 1) await service.decrypt(await sealedElsewhere(kms, SEED), patience);
    expect(hex(await service.decrypt(old, patience))).toBe(hex(SEED));
  });
});

describe('a KEK that is replaced beneath its name', () => {
  async function replaced() {
    const kms = new MemoryKms();
    const directory = await temporaryDirectory();
    const { ring, service, observer } = await openReadyRing(kms, await openState(directory));
    const old = service.encrypt(SEED);
    kms.replaceKek();
    await turns(kms, 5);
    await until(() => ring.snapshot?.keyId !== old.keyId);
    return { kms, directory, ring, service, observer, old };
  }

  test('is left at once: another key id, and data of both KEKs opens, also after a restart', async () => {
    const { kms, directory, ring, service, old } = await replaced();
    const sealed = service.encrypt(SEED);
    expect(sealed.keyId).toBe(`${old.keyId}-1`);
    expect(recordsOf(sealed)[0]?.kekId).toBe(recordsOf(old)[0]?.kekId);
    expect(ring.standingAlarms.join()).toContain('generation');
    await ring.close();

    const restarted = await openReadyRing(kms, await openState(directory));
    expect(restarted.service.status().keyId).toBe(`${old.keyId}-1`);
    for (const parts of [old, sealed]) {
      expect(hex(await restarted.service.decrypt(parts, patience))).toBe(hex(SEED));
    }
  });

  test('is over when the generation is raised', async () => {
    const { kms, directory, ring, old } = await replaced();
    await ring.close();
    const restarted = await openReadyRing(kms, { ...(await openState(directory)), generation: 2 });
    expect(restarted.service.status().keyId).not.toContain(old.keyId);
    expect(restarted.service.status().keyId).not.toMatch(/-\d+$/);
    expect(restarted.ring.standingAlarms).toEqual([]);
  });
});

test('a record that somebody put into an envelope makes no key suspect: the envelope did not open', async () => {
  const a = new MemoryKms();
  const b = new MemoryKms();
  const keys = [memoryKey(a, 'a'), memoryKey(b, 'b', { role: 'recover' })];
  const parts = await sealedElsewhere(a, SEED, { keys });
  const envelope = decodeEnvelope(parts, CLUSTER);
  const planted = { keyName: 'b', kekId: 'memory/v9', ciphertext: new Uint8Array(60) };
  const annotation = encodeAnnotation({
    ...envelope,
    records: envelope.records.map((record) => (record.keyName === 'b' ? planted : record)),
  });
  const { ring, service, observer } = await openReadyRing(a, { keys });
  await expect(
    service.decrypt({ ...parts, annotations: new Map([[ANNOTATION_NAME, annotation]]) }, patience),
  ).rejects.toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  await turns(b, 6);
  expect(observer.alarms).toEqual([]);
  expect(observer.remoteCalls.filter(({ code }) => code !== 'ok')).toEqual([]);
  expect(ring.standingAlarms).toEqual([]);
});

describe('the rescue file', () => {
  test('that an attacker planted opens nothing and seals nothing', async () => {
    const kms = new MemoryKms();
    const directory = await temporaryDirectory();
    const parts = await sealedElsewhere(kms, SEED);
    // A record of a local key that the attacker knows, under the commitment of one that he does not.
    const known = kms.wrapNow(new Uint8Array(32).fill(1));
    const rescue = await Rescue.open({ directory, cluster: CLUSTER, alarm: () => undefined });
    const { commitment } = decodeEnvelope(parts, CLUSTER);
    await rescue.add([{ commitment, records: [{ keyName: 'prod', ...known }] }]);

    const { service, ring } = await openReadyRing(kms, await openState(directory));
    expect(hex(await service.decrypt(parts, patience))).toBe(hex(SEED));
    expect(ring.snapshot?.records[0]?.ciphertext).not.toEqual(known.ciphertext);
  });

  test('is moved aside when it cannot be read, never overwritten', async () => {
    const directory = await temporaryDirectory();
    await mkdir(directory, { recursive: true });
    await writeFile(path.join(directory, 'rescue.json'), '{"format":1,', { mode: 0o600 });
    const alarms: string[] = [];
    await openState(directory, alarms);
    const [aside] = (await readdir(directory)).filter((name) => name.startsWith('rescue.json.unusable-'));
    expect(await readFile(path.join(directory, aside!), 'utf8')).toBe('{"format":1,');
    expect(alarms[0]).toContain('rescue');
  });
});

test('an annotation that stands in for another is remembered only after it opened', async () => {
  const kms = new MemoryKms();
  const directory = await temporaryDirectory();
  const parts = await sealedElsewhere(kms, SEED);
  const state = await openState(directory);
  const { service } = await openReadyRing(kms, state);
  const tampered = Uint8Array.from(parts.ciphertext);
  tampered[30]! ^= 1;
  const before = state.remembered.size;
  await expect(service.decrypt({ ...parts, ciphertext: tampered }, patience)).rejects.toThrow();
  expect(state.remembered.size).toBe(before);
  expect(state.remembered.annotations.map(({ annotation }) => hex(annotation))).not.toContain(
    hex(parts.annotations.get(ANNOTATION_NAME)!),
  );
});
