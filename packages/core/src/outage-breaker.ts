import { isBackendError } from './backend-error.js';
import { troubleOf } from './policy.js';

/** So many calls in a row may find the KMS away before the others are refused without asking it. */
const FAILURES_TO_OPEN = 5;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 5_000;
/** A KMS that asks for more is asked again all the same: nothing else would notice that it is well. */
const LONGEST_RETRY_AFTER_MS = 300_000;

/** The KMS was away a moment ago, and was not asked. */
export class NotAskedError extends Error {
  override readonly name = 'NotAskedError';
}

/**
 * Keeps calls from a KMS that is away, so that no storm of them becomes one on the KMS: after five outages in a row only one call after each pause
 * asks it.
 *
 * On the monotonic clock, unlike the circuit breaker of the library for the rest: were the wall clock set back, it would keep all calls from a KMS
 * that is well again.
 */
export class OutageBreaker {
  #failures = 0;
  #pausedUntilMs = -Infinity;
  #trial: Promise<void> | undefined;

  /**
   * @throws {NotAskedError} during a pause
   * @throws whatever `call` throws
   */
  async execute<T>(call: () => Promise<T>): Promise<T> {
    while (this.#trial !== undefined) await this.#trial;
    if (this.#failures < FAILURES_TO_OPEN) return this.#watched(call);
    if (performance.now() < this.#pausedUntilMs) throw new NotAskedError('the KMS was away a moment ago');
    const trial = this.#watched(call);
    const over = () => {
      this.#trial = undefined;
    };
    this.#trial = trial.then(over, over);
    return trial;
  }

  /** The KMS has answered. */
  close(): void {
    this.#failures = 0;
    this.#pausedUntilMs = -Infinity;
  }

  async #watched<T>(call: () => Promise<T>): Promise<T> {
    try {
      const answer = await call();
      this.close();
      return answer;
    } catch (error) {
      if (isOutage(error)) this.#count(error);
      else this.close();
      throw error;
    }
  }

  #count(error: unknown): void {
    const now = performance.now();
    // What was under way when the pause began says nothing new.
    if (now < this.#pausedUntilMs) return;
    this.#failures += 1;
    if (this.#failures < FAILURES_TO_OPEN) return;
    const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** (this.#failures - FAILURES_TO_OPEN), LONGEST_PAUSE_MS);
    this.#pausedUntilMs = now + Math.max(pauseMs, retryAfterMs(error));
  }
}

function isOutage(error: unknown): boolean {
  return isBackendError(error) && troubleOf(error.code) === 'outage';
}

/** How long the KMS that failed with `error` asked us to wait, or 0. */
export function retryAfterMs(error: unknown): number {
  const asked = isBackendError(error) ? (error.retryAfterMs ?? 0) : 0;
  return asked > 0 ? Math.min(asked, LONGEST_RETRY_AFTER_MS) : 0;
}
