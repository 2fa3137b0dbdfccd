import { timeout, TimeoutStrategy, type TimeoutPolicy } from 'cockatiel';
import { BackendError, toBackendError } from './backend-error.js';
import { isConfigError } from './config-error.js';
import type { Key } from './key.js';
import type { Observer, RemoteOperation } from './observer.js';

/** Calls the backend of one key: bounded in time, measured, and with every failure turned into a `BackendError`. */
export class RemoteCalls {
  readonly #key: Key;
  readonly #limitMs: number;
  readonly #observer: Observer;
  readonly #closing: AbortSignal;
  readonly #timeout: TimeoutPolicy;
  readonly #underWay = new Set<Promise<unknown>>();
  #lastGoodAtMs: number | undefined;

  /** @param options.closing - ends every call but `close` */
  constructor(
    key: Key,
    options: { readonly limitMs: number; readonly observer: Observer; readonly closing: AbortSignal },
  ) {
    this.#key = key;
    this.#limitMs = options.limitMs;
    this.#observer = options.observer;
    this.#closing = options.closing;
    // Aggressive: a backend that ignores its signal is left behind, not waited for.
    this.#timeout = timeout(options.limitMs, { strategy: TimeoutStrategy.Aggressive, abortOnReturn: false });
  }

  /** When the last call was answered as hoped, on the monotonic clock; `undefined` when none was. */
  get lastGoodAtMs(): number | undefined {
    return this.#lastGoodAtMs;
  }

  /** Resolves when nothing is under way any more: no call, each of which ends within the limit, and nothing that `counting` counts. */
  async idle(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay);
  }

  /** @throws {BackendError} */
  async call<T>(operation: RemoteOperation, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return this.counting(this.#call(operation, run));
  }

  /** Counts `work` as under way until it settles: several calls with pauses between them, or one that waits for its turn. */
  async counting<T>(work: Promise<T>): Promise<T> {
    this.#underWay.add(work);
    try {
      return await work;
    } finally {
      this.#underWay.delete(work);
    }
  }

  async #call<T>(operation: RemoteOperation, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    // The closing signal must not cancel `close` itself.
    const closing = operation === 'close' ? undefined : this.#closing;
    if (closing?.aborted === true) throw this.#unanswered(operation);
    const startedAtMs = performance.now();
    const observe = (code: BackendError['code'] | 'ok', error?: Error) => {
      const durationMs = performance.now() - startedAtMs;
      this.#observer.remoteCall({ key: this.#key.name, operation, code, durationMs, ...(error && { error }) });
    };
    const given: { signal?: AbortSignal } = {};
    try {
      const answer = await this.#timeout.execute(async ({ signal }) => {
        given.signal = signal;
        return run(signal);
      }, closing);
      observe('ok');
      this.#lastGoodAtMs = performance.now();
      return answer;
    } catch (error) {
      // After the signal, whatever the backend throws (an AbortError of its client, for instance) is only the echo of our giving up.
      const failure =
        given.signal?.aborted === true ? this.#unanswered(operation, error) : this.#explain(error, operation);
      observe(failure.code, failure);
      throw failure;
    }
  }

  #unanswered(operation: RemoteOperation, cause?: unknown): BackendError {
    const closing = this.#closing.aborted && operation !== 'close';
    const why = closing ? 'the plugin is closing' : `no answer within ${this.#limitMs} ms`;
    return new BackendError('unavailable', `${this.#key.backendName}: ${operation}: ${why}`, { cause });
  }

  #explain(error: unknown, operation: RemoteOperation): BackendError {
    const doing = `${this.#key.backendName}: ${operation}`;
    if (isConfigError(error)) return new BackendError('internal', `${doing}: ${error.message}`, { cause: error });
    return toBackendError(error, doing);
  }
}
