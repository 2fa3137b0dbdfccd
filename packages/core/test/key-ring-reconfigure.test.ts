import { describe, expect, test } from 'vitest';
import { BackendError } from '../src/backend-error.js';
import { type EnvelopeParts } from '../src/envelope.js';
import type { Key } from '../src/key.js';
import type { RingConfig } from '../src/ring-config.js';
import { decodeEnvelope } from './decode-envelope.js';
import { Gate, MemoryKms, rejectWith } from './memory-backend.js';
import { CLUSTER, memoryKey, ONE_TURN_MS, openReadyRing, patience, ringConfig } from './open-ring.js';
import { until } from './until.js';
import { hex } from './wire.js';

const SEED = new Uint8Array(32).fill(42);

const recordNames = (parts: EnvelopeParts) => decodeEnvelope(parts, CLUSTER).records.map(({ keyName }) => keyName);
const withKeys = (keys: readonly Key[], change: Partial<RingConfig> = {}) => ({ ...ringConfig(keys), ...change });

describe('another config', () => {
  test('moves the writing to a new key, and the old one goes on opening what it wrapped', async () => {
    const a = new MemoryKms();
    const b = new MemoryKms();
    const { service, ring } = await openReadyRing(a, { key: memoryKey(a, 'a') });
    const old = service.encrypt(SEED);
    await ring.reconfigure(withKeys([memoryKey(b, 'b'), memoryKey(a, 'a', { role: 'read' })]));
    await until(() => ring.snapshot?.keyId.startsWith('b:'));
    expect(recordNames(service.encrypt(SEED))).toEqual(['b']);
    expect(hex(await service.decrypt(old, patience))).toBe(hex(SEED));
    expect(a.calls).toMatchObject({ open: 1, close: 0 });
  });

  test('takes in a recover key at once: its record is in the next envelope', async () => {
    const a = new MemoryKms();
    const b = new MemoryKms();
    const keys = [memoryKey(a, 'a')];
    const { service, ring } = await openReadyRing(a, { keys, publish: { completeMs: 0 } });
    const alone = service.encrypt(SEED).keyId;
    await ring.reconfigure(
      withKeys([...keys, memoryKey(b, 'b', { role: 'recover' })], {
        publish: { ...ringConfig(keys).publish, completeMs: 0 },
      }),
    );
    await until(() => ring.snapshot?.keyId !== alone);
    expect(recordNames(service.encrypt(SEED))).toEqual(['a', 'b']);
  });

  test('with a higher generation forces another key id under the same keys', async () => {
    const kms = new MemoryKms();
    const keys = [memoryKey(kms)];
    const { service, ring } = await openReadyRing(kms, { keys });
    const { keyId } = service.encrypt(SEED);
    await ring.reconfigure(withKeys(keys, { generation: 2 }));
    await until(() => ring.snapshot?.keyId !== keyId);
    expect(kms.calls.open).toBe(1);
  });

  test('that is the same changes nothing', async () => {
    const kms = new MemoryKms();
    const keys = [memoryKey(kms)];
    const { ring, observer } = await openReadyRing(kms, { keys });
    await ring.reconfigure(withKeys(keys));
    const turns = kms.calls.currentKekId;
    await until(() => kms.calls.currentKekId > turns + 3);
    expect(observer.publications).toHaveLength(1);
    expect(kms.calls.open).toBe(1);
  });

  test('whose new key cannot be opened is refused and changes nothing', async () => {
    const a = new MemoryKms();
    const b = new MemoryKms();
    b.before.currentKekId = rejectWith(new BackendError('permission-denied', 'memory: no right'));
    const { service, ring } = await openReadyRing(a, { key: memoryKey(a, 'a') });
    const { keyId } = service.encrypt(SEED);
    await expect(ring.reconfigure(withKeys([memoryKey(b, 'b'), memoryKey(a, 'a', { role: 'read' })]))).rejects.toThrow(
      expect.objectContaining({ name: 'ConfigError', message: expect.stringMatching(/^keys\[0\]: .*no right/) }),
    );
    expect(service.encrypt(SEED).keyId).toBe(keyId);
    expect(ring.keyStates.map(({ name, role }) => `${name} ${role}`)).toEqual(['a write']);
    expect(b.calls.close).toBe(1);
  });

  test('that puts another KEK under a name in use is refused, and says to use another name', async () => {
    const a = new MemoryKms();
    const { ring } = await openReadyRing(a, { key: memoryKey(a, 'a') });
    await expect(
      ring.reconfigure(withKeys([memoryKey(new MemoryKms(), 'a', { config: { other: true } })])),
    ).rejects.toThrow(/give it another name/);
  });

  test('lets what is in flight finish on the old backend, which is closed after', async () => {
    const a = new MemoryKms();
    const b = new MemoryKms();
    const { service, ring } = await openReadyRing(a, { key: memoryKey(a, 'a') });
    const elsewhere = await openReadyRing(a, { key: memoryKey(a, 'a') });
    const parts = elsewhere.service.encrypt(SEED);
    await elsewhere.ring.close();
    const closedBefore = a.calls.close;

    const gate = new Gate();
    a.before.unwrap = gate.pass;
    const decrypted = service.decrypt(parts, patience);
    await ring.reconfigure(withKeys([memoryKey(b, 'b')]));
    expect(a.calls.close).toBe(closedBefore);
    gate.open();
    expect(hex(await decrypted)).toBe(hex(SEED));
    await until(() => a.calls.close === closedBefore + 1);
  });

  test('that comes while a Decrypt waits lets it ask the keys of now, when those of before are closed', async () => {
    const a = new MemoryKms();
    const b = new MemoryKms();
    const keys = [memoryKey(a, 'a'), memoryKey(b, 'b', { role: 'recover' })];
    const elsewhere = await openReadyRing(a, { keys });
    const parts = elsewhere.service.encrypt(SEED);
    await elsewhere.ring.close();

    const { service, ring } = await openReadyRing(a, { keys, limits: { probeIntervalMs: ONE_TURN_MS } });
    const gate = new Gate();
    a.before.unwrap = async () => {
      delete a.before.unwrap;
      await gate.pass();
      throw new BackendError('unavailable', 'memory: cut');
    };
    const decrypted = service.decrypt(parts, patience);
    await until(() => a.before.unwrap === undefined);
    const closes = b.calls.close;
    const config = ringConfig(keys);
    await ring.reconfigure({ ...config, limits: { ...config.limits, remoteCallMs: 1_999 } });
    await until(() => b.calls.close > closes);
    gate.open();
    expect(hex(await decrypted)).toBe(hex(SEED));
  });

  test('brings its limits into force', async () => {
    const kms = new MemoryKms();
    const keys = [memoryKey(kms)];
    const quiet = { probeIntervalMs: ONE_TURN_MS, oldVersionsMs: ONE_TURN_MS };
    const { service, ring } = await openReadyRing(kms, { keys, limits: quiet });
    const { keyId } = service.encrypt(SEED);
    kms.rotate();
    await ring.reconfigure(withKeys(keys, { generation: 2, limits: { ...ringConfig(keys).limits, ...quiet } }));
    await until(() => ring.snapshot?.keyId !== keyId);
    kms.destroy('memory/v1');
    const before = kms.calls.currentKekId;
    await ring.reconfigure(withKeys(keys, { generation: 2 }));
    await until(() => kms.calls.currentKekId > before + 5);
    // Of the older version, too.
    await until(() => ring.standingAlarms.join().includes('memory/v1'));
  });

  test('that is refused again and again declares no KEK lost', async () => {
    const a = new MemoryKms();
    const b = new MemoryKms();
    const keys = [memoryKey(a, 'a'), memoryKey(b, 'b', { role: 'recover' })];
    const { service, ring, observer } = await openReadyRing(a, { keys });
    const sealed = service.encrypt(SEED);
    a.before.currentKekId = rejectWith(new BackendError('unavailable', 'memory: away'));
    a.before.unwrap = a.before.currentKekId;
    await until(() => ring.keyStates[0]?.state === 'failing');
    const wrong = [memoryKey(new MemoryKms(), 'a', { config: { other: true } }), ...keys.slice(1)];
    for (let time = 0; time < 5; time += 1) {
      await expect(ring.reconfigure(withKeys(wrong))).rejects.toThrow(/give it another name/);
      // As far apart as failures that count.
      const before = b.calls.currentKekId;
      await until(() => b.calls.currentKekId > before + 2);
    }
    expect(observer.alarms).toEqual([]);
    expect(ring.keyStates.map(({ lost }) => lost)).toEqual([false, false]);
    expect(service.encrypt(SEED).keyId).toBe(sealed.keyId);
  });

  test('a key that was only there under another role is not opened anew', async () => {
    const a = new MemoryKms();
    const b = new MemoryKms();
    const keys = [memoryKey(a, 'a'), memoryKey(b, 'b', { role: 'read' })];
    const { service, ring } = await openReadyRing(a, { keys });
    await ring.reconfigure(withKeys([memoryKey(a, 'a', { role: 'read' }), memoryKey(b, 'b')]));
    await until(() => ring.snapshot?.keyId.startsWith('b:'));
    expect(recordNames(service.encrypt(SEED))).toEqual(['b']);
    expect([a.calls.open, b.calls.open]).toEqual([1, 1]);
  });
});
