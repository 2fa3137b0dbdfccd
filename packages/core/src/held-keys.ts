import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { ReceivedEnvelope } from './envelope.js';
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
  readonly unwrap: (envelope: ReceivedEnvelope) => Promise<LocalKey>;
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
  readonly #held: LRUCache<string, LocalKey>;
  readonly #failures = new LRUCache<string, Failure>({ max: MAX_FAILURES });
  readonly #unwrapping = new Map<string, Promise<LocalKey>>();
  readonly #options: HeldKeysOptions;
  #waiting = 0;

  constructor(options: HeldKeysOptions) {
    this.#options = options;
    this.#held = new LRUCache({
      max: options.capacity,
      // Not at once: between the unwrap and the use of its local key lie a few microtasks, and others may evict it in them.
      dispose: (localKey) => {
        setImmediate(() => {
          localKey.destroy();
        });
      },
    });
  }

  get size(): number {
    return this.#held.size;
  }

  /** Callers that wait for an unwrap now. */
  get waiting(): number {
    return this.#waiting;
  }

  find(commitment: Uint8Array): LocalKey | undefined {
    return this.#held.get(hex(commitment));
  }

  /** Takes `localKey` over; it is destroyed soon after it made room for another. */
  hold(localKey: LocalKey): void {
    this.#held.set(hex(localKey.commitment), localKey);
  }

  /**
   * Unwraps the local key of `envelope`, or waits for who does so already.
   *
   * After a failure the same error is answered at once for 1 s, doubling to 30 s with each further failure. When `signal` aborts, only this caller
   * leaves: the unwrap goes on for the others and for the next who asks.
   *
   * @throws {KmsError} RESOURCE_EXHAUSTED when too many wait, CANCELLED when `signal` aborts; else what `unwrap` threw
   */
  async obtain(envelope: ReceivedEnvelope, signal: AbortSignal): Promise<LocalKey> {
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
    for (const localKey of this.#held.values()) localKey.destroy();
    this.#held.clear();
  }

  async #unwrapOnce(id: string, envelope: ReceivedEnvelope): Promise<LocalKey> {
    try {
      const localKey = await this.#options.unwrap(envelope);
      this.#failures.delete(id);
      this.hold(localKey);
      return localKey;
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
