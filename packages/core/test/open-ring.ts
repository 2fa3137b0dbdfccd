import { onTestFinished } from 'vitest';
import type { EnvelopeParts } from '../src/envelope.js';
import type { Key } from '../src/key-loop.js';
import { KeyRing, type KeyRingOptions } from '../src/key-ring.js';
import { KmsService } from '../src/kms-service.js';
import type { MemoryKms } from './memory-backend.js';
import { RecordingObserver } from './recording-observer.js';
import { until } from './until.js';

export const CLUSTER = 'prod-1';
/** So long that the loop makes one turn and no more. */
export const ONE_TURN_MS = 3_600_000;

/** Never aborts. */
export const patience: AbortSignal = new AbortController().signal;

export function memoryKey(kms: MemoryKms, name = 'prod'): Key {
  return { name, backendName: 'memory', module: kms.module, config: {} };
}

type RingSettings = Partial<Omit<KeyRingOptions, 'limits' | 'observer'>> & {
  readonly limits?: Partial<KeyRingOptions['limits']>;
};

/** A ring over `kms`, with pauses so short that a test need not wait; closed when the test is over. */
export function openRing(kms: MemoryKms, { limits, ...options }: RingSettings = {}) {
  const observer = new RecordingObserver();
  const ring = new KeyRing({
    cluster: CLUSTER,
    generation: 1,
    key: memoryKey(kms),
    publish: { quietMs: 0, latestMs: 0 },
    ...options,
    limits: {
      probeIntervalMs: 5,
      remoteCallMs: 2_000,
      unwrapConcurrency: 4,
      heldLocalKeys: 100,
      waitingDecrypts: 100,
      ...limits,
    },
    observer,
  });
  onTestFinished(() => ring.close());
  return { ring, service: new KmsService(ring), observer };
}

/** The same, once it seals. */
export async function openReadyRing(kms: MemoryKms, settings: RingSettings = {}) {
  const opened = openRing(kms, settings);
  await until(() => opened.ring.keyStates[0]?.state === 'ready');
  return opened;
}

/** A ring that seals and then leaves its KMS alone. */
export async function openQuietRing(kms: MemoryKms, settings: RingSettings = {}) {
  return openReadyRing(kms, { ...settings, limits: { ...settings.limits, probeIntervalMs: ONE_TURN_MS } });
}

/** `seed` as another node, which shares the KMS and nothing else, sealed it. */
export async function sealedElsewhere(
  kms: MemoryKms,
  seed: Uint8Array,
  settings: RingSettings = {},
): Promise<EnvelopeParts> {
  const { ring, service } = await openQuietRing(kms, settings);
  const parts = service.encrypt(seed);
  await ring.close();
  return parts;
}
