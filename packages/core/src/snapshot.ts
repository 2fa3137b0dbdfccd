import type { LocalKeyRecord } from './envelope.js';
import type { LocalKey } from './local-key.js';

/** What Status and Encrypt answer from. Replaced whole, never changed. */
export interface Snapshot {
  readonly keyId: string;
  readonly localKey: LocalKey;
  readonly records: readonly LocalKeyRecord[];
  /** The annotation's bytes, the same for every seed sealed under this snapshot. */
  readonly annotation: Uint8Array;
}

/** When a new snapshot may replace the old one. */
export interface PublishRule {
  /** After this long without a Status. */
  readonly quietMs: number;
  /** After this long in any case. */
  readonly latestMs: number;
}

/**
 * Holds the current snapshot and lets a new one in at a moment that disturbs no API server.
 *
 * Status and Encrypt are two RPCs, and the API server throws an Encrypt away whose key id is not the one of the Status before it. So a new snapshot
 * waits until no Status was answered for a while; at the latest it is let in anyway, which costs one poll.
 */
export class SnapshotPublisher {
  #rule: PublishRule;
  readonly #onPublish: (snapshot: Snapshot, previous: Snapshot | undefined) => void;
  #current: Snapshot | undefined;
  #pending: { readonly snapshot: Snapshot; readonly offeredAtMs: number } | undefined;
  #lastStatusAtMs = -Infinity;
  #timer: NodeJS.Timeout | undefined;

  constructor(rule: PublishRule, onPublish: (snapshot: Snapshot, previous: Snapshot | undefined) => void) {
    this.#rule = rule;
    this.#onPublish = onPublish;
  }

  get current(): Snapshot | undefined {
    return this.#current;
  }

  /** The snapshot that was made last, published or waiting to be. */
  get newest(): Snapshot | undefined {
    return this.#pending?.snapshot ?? this.#current;
  }

  /** What is published and what waits to be. */
  get all(): readonly Snapshot[] {
    return [this.#current, this.#pending?.snapshot].filter((snapshot) => snapshot !== undefined);
  }

  /** Of what is published or waits to be, the local key with this commitment. */
  find(commitment: Uint8Array): LocalKey | undefined {
    if (this.#current?.localKey.commitsTo(commitment) === true) return this.#current.localKey;
    const pending = this.#pending?.snapshot.localKey;
    return pending?.commitsTo(commitment) === true ? pending : undefined;
  }

  statusAnswered(): void {
    this.#lastStatusAtMs = performance.now();
  }

  /**
   * Publishes `snapshot` when the rule allows, at once when there is none yet. Takes the place of one that still waits, and of its waiting time.
   *
   * @returns the one whose place it took: it never sealed anything
   */
  offer(snapshot: Snapshot): Snapshot | undefined {
    const displaced = this.#pending;
    this.#pending = { snapshot, offeredAtMs: displaced?.offeredAtMs ?? performance.now() };
    this.#publishWhenDue();
    return displaced?.snapshot;
  }

  /** Counts for what waits already, too. */
  changeRule(rule: PublishRule): void {
    this.#rule = rule;
    this.#publishWhenDue();
  }

  /** Takes back what is published and what waits; nothing is sealed until the next offer. */
  withdraw(): void {
    this.close();
    this.#current = undefined;
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#pending = undefined;
  }

  #publishWhenDue(): void {
    clearTimeout(this.#timer);
    if (this.#pending === undefined) return;
    const dueAtMs = Math.min(
      this.#lastStatusAtMs + this.#rule.quietMs,
      this.#pending.offeredAtMs + this.#rule.latestMs,
    );
    const waitMs = this.#current === undefined ? 0 : dueAtMs - performance.now();
    if (waitMs > 0) {
      this.#timer = setTimeout(() => {
        this.#publishWhenDue();
      }, Math.ceil(waitMs));
      return;
    }
    const previous = this.#current;
    this.#current = this.#pending.snapshot;
    this.#pending = undefined;
    this.#onPublish(this.#current, previous);
  }
}
