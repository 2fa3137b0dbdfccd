import { LRUCache } from 'lru-cache';
import { atMost } from './at-most.js';
import type { LocalKeyRecord } from './envelope.js';

/** So many probes in a row must fail before a KEK counts as lost. */
const FAILURES_TO_LOSE = 3;
const MAX_KEKS = 10_000;
/** A probe that comes a little early still counts. */
const SLACK = 0.9;

/** One record of one KEK, to be unwrapped again and again: as long as it opens, everything that the KEK wrapped does. */
export interface Sample {
  readonly record: LocalKeyRecord;
  readonly commitment: Uint8Array;
}

interface Watched {
  readonly sample: Sample;
  probedAtMs: number;
  failures: number;
  lost: boolean;
}

interface KekWatchLimits {
  /** Between two probes of a KEK that is not in use any more. */
  readonly oldVersionsMs: number;
  /** Failures within this time count once: three of them must not be one hiccup. */
  readonly probeIntervalMs: number;
}

/** Watches over every KEK version that wrapped a local key which was in memory, and says when one is lost. No timers, no calls. */
export class KekWatch {
  readonly #limits: () => KekWatchLimits;
  readonly #watched = new LRUCache<string, Watched>(atMost(MAX_KEKS));

  /** @param limits - gives those in force now */
  constructor(limits: () => KekWatchLimits) {
    this.#limits = limits;
  }

  /** A local key was sealed or opened with; its records are samples of KEKs that have none yet. */
  met(records: readonly LocalKeyRecord[], commitment: Uint8Array): void {
    for (const record of records) {
      const id = idOf(record);
      if (!this.#watched.has(id)) this.#watched.set(id, this.#fresh({ record, commitment }));
    }
  }

  /** A record was just wrapped and unwrapped: whatever was known of its KEK before is past. */
  proved(record: LocalKeyRecord, commitment: Uint8Array): void {
    this.#watched.set(idOf(record), this.#fresh({ record, commitment }));
  }

  isLost(keyName: string, kekId: string): boolean {
    return this.#watched.peek(idOf({ keyName, kekId }))?.lost ?? false;
  }

  /** The lost KEKs, as (key, KEK id). */
  get lost(): readonly LocalKeyRecord[] {
    return [...this.#watched.values()].filter(({ lost }) => lost).map(({ sample }) => sample.record);
  }

  /** The sample that this key opened or wrapped last. */
  newestSampleOf(keyName: string): Sample | undefined {
    return [...this.#watched.values()].find(({ sample }) => sample.record.keyName === keyName)?.sample;
  }

  /** What of this key is to be probed now: each KEK once in a while, and each that failed until it is clear what became of it. */
  due(keyName: string, nowMs: number): readonly Sample[] {
    const { probeIntervalMs, oldVersionsMs } = this.#limits();
    return [...this.#watched.values()]
      .filter(({ sample }) => sample.record.keyName === keyName)
      .filter(({ probedAtMs, failures }) => {
        const pauseMs = failures > 0 ? probeIntervalMs : oldVersionsMs;
        return nowMs - probedAtMs >= pauseMs;
      })
      .map(({ sample }) => sample);
  }

  /** It opened. */
  passed(sample: Sample, nowMs: number): void {
    const watched = this.#watching(sample);
    if (watched !== undefined) Object.assign(watched, { probedAtMs: nowMs, failures: 0, lost: false });
  }

  /** No verdict: an outage or a refusal says nothing of the KEK. */
  postponed(sample: Sample, nowMs: number): void {
    const watched = this.#watching(sample);
    if (watched !== undefined) watched.probedAtMs = nowMs;
  }

  /**
   * It did not open.
   *
   * @returns whether the KEK is lost by this failure, and was not before
   */
  failed(sample: Sample, nowMs: number): boolean {
    const watched = this.#watching(sample);
    if (watched === undefined) return false;
    if (watched.failures > 0 && nowMs - watched.probedAtMs < this.#limits().probeIntervalMs * SLACK) return false;
    watched.probedAtMs = nowMs;
    watched.failures += 1;
    if (watched.lost || watched.failures < FAILURES_TO_LOSE) return false;
    watched.lost = true;
    return true;
  }

  /** A remembered record did not open: it takes the place of a sample that does, because another KEK may stand beneath the name. */
  suspect(sample: Sample, nowMs: number): void {
    const id = idOf(sample.record);
    if ((this.#watched.peek(id)?.failures ?? 0) > 0) return;
    this.#watched.set(id, { sample, probedAtMs: nowMs, failures: 1, lost: false });
  }

  #watching({ record, commitment }: Sample): Watched | undefined {
    const watched = this.#watched.peek(idOf(record));
    return watched !== undefined && Buffer.compare(watched.sample.commitment, commitment) === 0 ? watched : undefined;
  }

  #fresh(sample: Sample): Watched {
    return { sample, probedAtMs: performance.now(), failures: 0, lost: false };
  }
}

function idOf({ keyName, kekId }: { readonly keyName: string; readonly kekId: string }): string {
  return `${keyName}\n${kekId}`;
}
