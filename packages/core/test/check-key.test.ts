import { expect, test } from 'vitest';
import { BackendError } from '../src/backend-error.js';
import { bytesPerObject, checkKey } from '../src/check-key.js';
import { ANNOTATION_NAME } from '../src/envelope.js';
import { MemoryKms, stall } from './memory-backend.js';
import { CLUSTER, memoryKey, openQuietRing } from './open-ring.js';
import { RecordingObserver } from './recording-observer.js';

const limits = { probeIntervalMs: 1_000, remoteCallMs: 2_000, unwrapConcurrency: 1 };

test('a good key is opened, wraps, unwraps and is closed again, each once', async () => {
  const kms = new MemoryKms();
  const record = await checkKey(memoryKey(kms), limits, new RecordingObserver());
  expect(record).toMatchObject({ keyName: 'prod', kekId: kms.kekId });
  expect(kms.calls).toEqual({ open: 1, currentKekId: 0, wrap: 1, unwrap: 1, close: 1 });
});

test.each(['open', 'wrap', 'unwrap'] as const)(
  'a key whose %s fails says so, and what was opened is closed',
  async (step) => {
    const kms = new MemoryKms();
    kms.before[step] = () => {
      throw new BackendError('permission-denied', `memory: ${step}: permission denied`);
    };
    await expect(checkKey(memoryKey(kms), limits, new RecordingObserver())).rejects.toMatchObject({
      code: 'permission-denied',
      message: `memory: ${step}: permission denied`,
    });
    expect(kms.calls.close).toBe(step === 'open' ? 0 : 1);
  },
);

test('a key that does not answer is given up', async () => {
  const kms = new MemoryKms();
  kms.before.wrap = stall;
  const checked = checkKey(memoryKey(kms), { ...limits, remoteCallMs: 20 }, new RecordingObserver());
  await expect(checked).rejects.toMatchObject({ code: 'unavailable' });
});

test('a key that unwraps to something else is found out', async () => {
  const kms = new MemoryKms();
  kms.answers.unwrap = () => new Uint8Array(32).fill(1);
  await expect(checkKey(memoryKey(kms), limits, new RecordingObserver())).rejects.toMatchObject({ code: 'internal' });
});

test('the bytes that each object grows by are those of Encrypt’s answer', async () => {
  const { ring, service } = await openQuietRing(new MemoryKms());
  const { ciphertext, keyId, annotations } = service.encrypt(new Uint8Array(32));
  const predicted = bytesPerObject(ring.snapshot!.records, { cluster: CLUSTER, generation: 1, writer: 'prod' });
  expect(predicted).toBe(
    ciphertext.length + keyId.length + ANNOTATION_NAME.length + annotations.get(ANNOTATION_NAME)!.length,
  );
});
