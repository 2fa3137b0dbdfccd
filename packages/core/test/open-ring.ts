import { onTestFinished } from 'vitest';
import type { EnvelopeParts } from '../src/envelope.js';
import type { Key } from '../src/key.js';
import { KeyRing, type KeyRingOptions } from '../src/key-ring.js';
import type { RingConfig } from '../src/ring-config.js';
import { KmsService } from '../src/kms-service.js';
import { Rescue } from '../src/rescue.js';
import type { Policy } from '../src/policy.js';
import type { MemoryKms } from './memory-backend.js';
import { RecordingObserver } from './recording-observer.js';
import { until } from './until.js';

export const CLUSTER = 'prod-1';
/** So long that the loop makes one turn and no more. */
export const ONE_TURN_MS = 3_600_000;

/** Never aborts. */
export const patience = new AbortController();

/** A key of `kms` that writes, unless `change` says otherwise. */
export function memoryKey(kms: MemoryKms, name = 'prod', change: Partial<Key> = {}): Key {
  return { name, role: 'write', required: false, backendName: 'memory', module: kms.module, config: {}, ...change };
}

/** Keeps nothing on disk. */
const volatileRescue = await Rescue.open({ directory: undefined, cluster: CLUSTER, alarm: () => undefined });

type RingSettings = Partial<Omit<KeyRingOptions, 'limits' | 'observer' | 'publish'>> & {
  /** Stands for `keys` when there is one. */
  readonly key?: Key;
  readonly limits?: Partial<KeyRingOptions['limits']>;
  readonly publish?: Partial<KeyRingOptions['publish']>;
};

/** Minutes are milliseconds here. */
const POLICY: Policy = { outage: { graceMs: 60, then: 'stay-ok' }, refusal: { afterMs: 10, action: 'report' } };

const LIMITS: KeyRingOptions['limits'] = {
  probeIntervalMs: 5,
  remoteCallMs: 2_000,
  unwrapConcurrency: 4,
  oldVersionsMs: 20,
  heldLocalKeys: 100,
  waitingDecrypts: 100,
};
const PUBLISH: KeyRingOptions['publish'] = { quietMs: 0, latestMs: 0, startMs: 100, completeMs: 20 };

/** A config with pauses so short that a test need not wait. */
export function ringConfig(keys: readonly Key[]): RingConfig {
  return { generation: 1, keys, retired: [], policy: POLICY, limits: LIMITS, publish: PUBLISH };
}

/** A ring over `kms`; closed when the test is over. */
export function openRing(kms: MemoryKms, { limits, publish, key = memoryKey(kms), ...options }: RingSettings = {}) {
  const observer = new RecordingObserver();
  const ring = new KeyRing({
    ...ringConfig([key]),
    cluster: CLUSTER,
    rescue: volatileRescue,
    ...options,
    publish: { ...PUBLISH, ...publish },
    limits: { ...LIMITS, ...limits },
    observer,
  });
  onTestFinished(() => ring.close());
  return { ring, service: new KmsService(ring), observer };
}

/** The same, once it seals. */
export async function openReadyRing(kms: MemoryKms, settings: RingSettings = {}) {
  const opened = openRing(kms, settings);
  await until(() => opened.ring.keyStates.every(({ state }) => state === 'ready'));
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
