import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { atMost } from './at-most.js';
import type { AnnotatedKey } from './envelope.js';
import { KmsError } from './kms-error.js';
import type { LocalKey } from './local-key.js';

const FIRST_FAILURE_MS = 1_000;
const LONGEST_FAILURE_MS = 30_000;
const MAX_FAILURES = 10_000;

interface HeldKeysOptions {
  /** How many local keys are held; the one used longest ago goes first. */
  readonly capacity: number;
  /** How many callers may wait for an unwrap at the same time, and how many unwraps may be under way. */
  readonly maxWaiting: number;
  /** Finds the local key of an envelope by a remote call. */
  readonly unwrap: (envelope: AnnotatedKey) => Promise<LocalKey>;
}

/** A local key in memory, and the annotation that says what wraps it. */
export interface HeldKey {
  readonly localKey: LocalKey;
  readonly annotation: Uint8Array;
}

/** A failed unwrap that is answered again without a remote call. */
interface Failure {
  readonly error: unknown;
  readonly delayMs: number;
  readonly untilMs: number;
}

/**
 * The local keys that were unwrapped, and one unwrap for all who wait for the same.
 *
 * A held key is found by its commitment. An unwrap and its failure belong to the annotation's bytes: whoever tampers with records makes other
 * bytes, and can neither hand his failure to the true envelope nor make it wait.
 */
export class HeldKeys {
  readonly #held: LRUCache<string, HeldKey>;
  /** Never make room for others: each may be the last copy. */
  readonly #pinned = new Map<string, HeldKey>();
  readonly #failures = new LRUCache<string, Failure>(atMost(MAX_FAILURES));
  readonly #unwrapping = new Map<string, Promise<LocalKey>>();
  readonly #options: HeldKeysOptions;
  #waiting = 0;

  constructor(options: HeldKeysOptions) {
    this.#options = options;
    this.#held = new LRUCache({
      ...atMost(options.capacity),
      // Not at once: between the unwrap and the use of its local key lie a few microtasks, and others may evict it in them.
      dispose: ({ localKey }, id, reason) => {
        if (reason !== 'evict') return;
        setImmediate(() => {
          if (this.#pinned.get(id)?.localKey !== localKey) localKey.destroy();
        });
      },
    });
  }

  get size(): number {
    return this.#held.size + this.#pinned.size;
  }

  /** Callers that wait for an unwrap now. */
  get waiting(): number {
    return this.#waiting;
  }

  find(commitment: Uint8Array): LocalKey | undefined {
    const id = hex(commitment);
    return (this.#held.get(id) ?? this.#pinned.get(id))?.localKey;
  }

  /** Takes `localKey` over; it is destroyed soon after it made room for another, at once when it is held already. */
  hold(held: HeldKey): void {
    const id = hex(held.localKey.commitment);
    const before = this.#pinned.get(id) ?? this.#held.peek(id);
    if (before === undefined) this.#held.set(id, held);
    else if (before.localKey !== held.localKey) held.localKey.destroy();
  }

  /** Keeps the local key whatever the capacity. */
  pin({ localKey, annotation }: HeldKey): void {
    const id = hex(localKey.commitment);
    this.#pinned.set(id, { localKey, annotation });
    this.#held.delete(id);
  }

  /** Everything that is held. */
  *entries(): Iterable<HeldKey> {
    yield* this.#held.values();
    yield* this.#pinned.values();
  }

  /** Destroys a local key at once. */
  wipe({ localKey }: HeldKey): void {
    const id = hex(localKey.commitment);
    this.#held.delete(id);
    this.#pinned.delete(id);
    localKey.destroy();
  }

  /**
   * Unwraps the local key of `envelope`, or waits for who does so already.
   *
   * After a failure the same error is answered at once for 1 s, doubling to 30 s with each further failure. When `signal` aborts, only this caller
   * leaves: the unwrap goes on for the others and for the next who asks.
   *
   * @throws {KmsError} RESOURCE_EXHAUSTED when too many wait, CANCELLED when `signal` aborts; else what `unwrap` threw
   */
  async obtain(envelope: AnnotatedKey, signal: AbortSignal): Promise<LocalKey> {
    const id = createHash('sha256').update(envelope.annotation).digest('base64');
    const failure = this.#failures.get(id);
    if (failure !== undefined && performance.now() < failure.untilMs) throw failure.error;
    let unwrapping = this.#unwrapping.get(id);
    // Unwraps whose callers gave up count too, or a KMS that stalls would let them pile up.
    const waiting = Math.max(this.#waiting, unwrapping === undefined ? this.#unwrapping.size : 0);
    if (waiting >= this.#options.maxWaiting) {
      throw new KmsError('RESOURCE_EXHAUSTED', `${waiting} Decrypts wait for the KMS already`);
    }
    if (unwrapping === undefined) {
      unwrapping = this.#unwrapOnce(id, envelope);
      this.#unwrapping.set(id, unwrapping);
    }
    this.#waiting += 1;
    try {
      return await abortable(unwrapping, signal);
    } finally {
      this.#waiting -= 1;
    }
  }

  /** Destroys every held key at once. */
  clear(): void {
    for (const { localKey } of this.entries()) localKey.destroy();
    this.#held.clear();
    this.#pinned.clear();
  }

  async #unwrapOnce(id: string, envelope: AnnotatedKey): Promise<LocalKey> {
    try {
      const localKey = await this.#options.unwrap(envelope);
      this.#failures.delete(id);
      // Another annotation of the same local key may have been unwrapped at the same time: one copy stays.
      this.hold({ localKey, annotation: Uint8Array.from(envelope.annotation) });
      return this.find(localKey.commitment) ?? localKey;
    } catch (error) {
      const delayMs = Math.min((this.#failures.peek(id)?.delayMs ?? FIRST_FAILURE_MS / 2) * 2, LONGEST_FAILURE_MS);
      this.#failures.set(id, { error, delayMs, untilMs: performance.now() + delayMs });
      throw error;
    } finally {
      this.#unwrapping.delete(id);
    }
  }
}

function hex(commitment: Uint8Array): string {
  return Buffer.from(commitment.buffer, commitment.byteOffset, commitment.length).toString('hex');
}

/** `promise`, or a rejection as soon as `signal` aborts; what becomes of `promise` then is nobody's unhandled rejection. */
async function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const abort = () => {
      reject(new KmsError('CANCELLED', 'the caller gave up'));
    };
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => {
      signal.removeEventListener('abort', abort);
    });
  });
}
