import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  bulkhead,
  ExponentialBackoff,
  handleAll,
  retry,
  timeout,
  TimeoutStrategy,
  type BulkheadPolicy,
  type TimeoutPolicy,
} from 'cockatiel';
import { BackendError, toBackendError } from './backend-error.js';
import type { Backend, BackendModule, WrappedKey } from './backend.js';
import { isConfigError } from './config-error.js';
import { isPublicName, type LocalKeyRecord } from './envelope.js';
import { lendHost, type Fact } from './host.js';
import { LocalKey } from './local-key.js';
import type { Observer, RemoteOperation } from './observer.js';

const FIRST_BACKOFF_MS = 500;
const LONGEST_BACKOFF_MS = 30_000;
/** A changed KEK id is read again this soon, so that a rotation does not take two probe intervals. */
const CONFIRM_MS = 5_000;
const REOPEN_PAUSE_MS = 1_000;
const MAX_WRAPPED_LENGTH = 2_048;

/** One configured key, its backend already chosen and its config section already checked. */
export interface Key {
  readonly name: string;
  /** The backend's name in the config; starts the messages that core writes for it. */
  readonly backendName: string;
  readonly module: BackendModule<unknown>;
  readonly config: unknown;
}

export interface RemoteLimits {
  /** Between two probes of a healthy key. */
  readonly probeIntervalMs: number;
  /** For every call of a backend. */
  readonly remoteCallMs: number;
  /** Unwraps for Decrypts at the same time, for each key. */
  readonly unwrapConcurrency: number;
}

/** How a key does. Durations are on the monotonic clock: a jump of the wall clock changes none of them. */
export interface KeyState {
  readonly name: string;
  readonly backend: string;
  readonly state: 'opening' | 'ready' | 'failing';
  /** For how long it has been in this state. */
  readonly forMs: number;
  /** Since the last call that the KMS answered as hoped; `undefined` when there was none. */
  readonly lastGoodContactMs: number | undefined;
  /** The KEK version in use, once read. */
  readonly kekId: string | undefined;
  /** Why it is failing. */
  readonly error: BackendError | undefined;
}

interface KeyLoopOptions {
  readonly key: Key;
  readonly limits: RemoteLimits;
  readonly observer: Observer;
  /** What the ring has to do with this key after each good reading of its KEK id. May throw; is then repeated after a pause. */
  readonly duty: () => Promise<void>;
}

/**
 * Does for one key everything that is remote: opens its backend, learns the current KEK id, wraps, unwraps, probes, and goes on for ever,
 * with growing pauses while it fails. RPCs only read what it found.
 */
export class KeyLoop {
  readonly key: Key;
  readonly #limits: RemoteLimits;
  readonly #observer: Observer;
  readonly #duty: () => Promise<void>;
  readonly #closing = new AbortController();
  readonly #timeout: TimeoutPolicy;
  readonly #unwraps: BulkheadPolicy;
  #backend: Backend | undefined;
  #opening: Promise<Backend> | undefined;
  #openFailure: { readonly error: BackendError; readonly atMs: number } | undefined;
  #kekId: string | undefined;
  #unconfirmedKekId: string | undefined;
  #state: KeyState['state'] = 'opening';
  #stateSinceMs = performance.now();
  #lastGoodContactAtMs: number | undefined;
  #error: BackendError | undefined;

  constructor({ key, limits, observer, duty }: KeyLoopOptions) {
    this.key = key;
    this.#limits = limits;
    this.#observer = observer;
    this.#duty = duty;
    // Aggressive: a backend that ignores its signal is left behind, not waited for.
    this.#timeout = timeout(limits.remoteCallMs, { strategy: TimeoutStrategy.Aggressive, abortOnReturn: false });
    // Every call that is under way listens; Node 20 would take more than ten for a leak.
    setMaxListeners(0, this.#closing.signal);
    this.#unwraps = bulkhead(limits.unwrapConcurrency, Infinity);
  }

  /** The KEK version in use: read when the key was opened, or twice in a row since. */
  get kekId(): string | undefined {
    return this.#kekId;
  }

  get state(): KeyState {
    const now = performance.now();
    return {
      name: this.key.name,
      backend: this.key.backendName,
      state: this.#state,
      forMs: now - this.#stateSinceMs,
      lastGoodContactMs: this.#lastGoodContactAtMs === undefined ? undefined : now - this.#lastGoodContactAtMs,
      kekId: this.#kekId,
      error: this.#error,
    };
  }

  /** Runs until `close`; never throws. */
  async run(): Promise<void> {
    const { signal } = this.#closing;
    const untilGood = retry(handleAll, {
      maxAttempts: Infinity,
      backoff: new ExponentialBackoff({
        initialDelay: FIRST_BACKOFF_MS,
        maxDelay: Math.min(LONGEST_BACKOFF_MS, this.#limits.probeIntervalMs),
      }),
    });
    try {
      while (!signal.aborted) {
        await untilGood.execute(() => this.#turn(), signal);
        const pauseMs =
          this.#unconfirmedKekId === undefined
            ? this.#limits.probeIntervalMs
            : Math.min(CONFIRM_MS, this.#limits.probeIntervalMs);
        await sleep(pauseMs, undefined, { signal });
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  /**
   * Wraps `localKey` and unwraps it again: a record that does not open is never returned.
   *
   * @throws {BackendError}
   */
  async wrap(localKey: LocalKey): Promise<LocalKeyRecord> {
    const backend = await this.#opened();
    const wrapped = await localKey.borrow((bytes) => this.#call('wrap', (signal) => backend.wrap(bytes, signal)));
    const record = { keyName: this.key.name, ...this.#checkWrapped(wrapped) };
    const unwrapped = await this.unwrap(record);
    const same = unwrapped.equals(localKey);
    unwrapped.destroy();
    if (!same) throw this.#broken('unwrap returned other bytes than were wrapped');
    // The answer of wrap is the truest reading there is of the version in use.
    this.#kekId = record.kekId;
    this.#unconfirmedKekId = undefined;
    return record;
  }

  /**
   * Unwraps a record of this key; opens the backend first if that is not yet done.
   *
   * @throws {BackendError}
   */
  async unwrap({ kekId, ciphertext }: WrappedKey): Promise<LocalKey> {
    const backend = await this.#opened();
    const bytes = await this.#unwraps.execute(() =>
      // A copy, so that a backend that changes its input changes nobody's record; the slice() of a Buffer would be a view.
      this.#call('unwrap', (signal) => backend.unwrap({ kekId, ciphertext: Uint8Array.from(ciphertext) }, signal)),
    );
    if (!(bytes instanceof Uint8Array)) throw this.#broken('unwrap returned no bytes');
    try {
      return LocalKey.fromBytes(bytes);
    } catch (error) {
      throw this.#broken(`unwrap returned ${error instanceof Error ? error.message : 'no local key'}`);
    } finally {
      bytes.fill(0);
    }
  }

  /** Stops the loop and closes the backend; waits for it no longer than any other remote call may take. */
  async close(): Promise<void> {
    this.#closing.abort();
    const backend = this.#backend ?? (await this.#opening?.catch(() => undefined));
    if (backend === undefined) return;
    try {
      await this.#call('close', () => backend.close());
    } catch {
      // Observed by #call; nothing is left to be done with a backend that cannot be closed.
    }
  }

  /** One turn: everything that is due, once. */
  async #turn(): Promise<void> {
    try {
      const backend = await this.#opened();
      const kekId: unknown = await this.#call('currentKekId', (signal) => backend.currentKekId(signal));
      if (!isPublicName(kekId))
        throw this.#broken('currentKekId returned no KEK id (1 to 512 bytes without control characters)');
      if (this.#kekId === undefined || kekId === this.#unconfirmedKekId) this.#kekId = kekId;
      this.#unconfirmedKekId = kekId === this.#kekId ? undefined : kekId;
      await this.#duty();
    } catch (error) {
      // What closing cut short is no failure of the key.
      if (!this.#closing.signal.aborted) this.#enter('failing', toBackendError(error, this.key.backendName));
      throw error;
    }
    this.#enter('ready');
  }

  async #opened(): Promise<Backend> {
    if (this.#backend !== undefined) return this.#backend;
    // Decrypts ask for an open too: they share one that is under way and do not repeat one that has just failed.
    if (this.#openFailure !== undefined && performance.now() - this.#openFailure.atMs < REOPEN_PAUSE_MS / 2)
      throw this.#openFailure.error;
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  async #open(): Promise<Backend> {
    const life = new AbortController();
    const end = () => {
      life.abort();
    };
    this.#closing.signal.addEventListener('abort', end, { once: true });
    const { name, backendName, module, config } = this.key;
    let late = false;
    try {
      this.#backend = await this.#call('open', async () => {
        const report = (fact: Fact) => {
          this.#observer.fact(name, fact);
        };
        const backend = await module.open(config, lendHost(backendName, report, life.signal));
        // Nobody waits for it any more: `open` took longer than a remote call may.
        if (late) await backend.close();
        return backend;
      });
      this.#openFailure = undefined;
      return this.#backend;
    } catch (error) {
      late = true;
      end();
      this.#closing.signal.removeEventListener('abort', end);
      const failure = toBackendError(error, `${backendName}: open`);
      this.#openFailure = { error: failure, atMs: performance.now() };
      throw failure;
    }
  }

  /** Calls the backend: bounded in time, measured, and with every failure turned into a BackendError. */
  async #call<T>(operation: RemoteOperation, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    // The closing signal must not cancel `close` itself.
    const closing = operation === 'close' ? undefined : this.#closing.signal;
    if (closing?.aborted) throw this.#unanswered(operation);
    const startedAtMs = performance.now();
    const observe = (code: BackendError['code'] | 'ok', error?: Error) => {
      const durationMs = performance.now() - startedAtMs;
      this.#observer.remoteCall({ key: this.key.name, operation, code, durationMs, ...(error && { error }) });
    };
    const given: { signal?: AbortSignal } = {};
    try {
      const answer = await this.#timeout.execute(async ({ signal }) => {
        given.signal = signal;
        return run(signal);
      }, closing);
      observe('ok');
      this.#lastGoodContactAtMs = performance.now();
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
    const closing = this.#closing.signal.aborted && operation !== 'close';
    const why = closing ? 'the plugin is closing' : `no answer within ${this.#limits.remoteCallMs} ms`;
    return new BackendError('unavailable', `${this.key.backendName}: ${operation}: ${why}`, { cause });
  }

  #explain(error: unknown, operation: RemoteOperation): BackendError {
    const doing = `${this.key.backendName}: ${operation}`;
    if (isConfigError(error)) return new BackendError('internal', `${doing}: ${error.message}`, { cause: error });
    return toBackendError(error, doing);
  }

  #checkWrapped(wrapped: unknown): WrappedKey {
    const { kekId, ciphertext } = (wrapped ?? {}) as Partial<Record<keyof WrappedKey, unknown>>;
    if (!isPublicName(kekId)) throw this.#broken('wrap returned no KEK id (1 to 512 bytes without control characters)');
    if (!(ciphertext instanceof Uint8Array) || ciphertext.length === 0 || ciphertext.length > MAX_WRAPPED_LENGTH) {
      throw this.#broken(`wrap returned no ciphertext of 1 to ${MAX_WRAPPED_LENGTH} bytes`);
    }
    // A copy: a backend may hand out a view of a buffer that it uses again, and the slice() of a Buffer would be one more view.
    return { kekId, ciphertext: Uint8Array.from(ciphertext) };
  }

  #broken(reason: string): BackendError {
    return new BackendError('internal', `${this.key.backendName}: ${reason}`);
  }

  #enter(state: 'ready' | 'failing', error?: BackendError): void {
    this.#error = error;
    if (state === this.#state) return;
    this.#state = state;
    this.#stateSinceMs = performance.now();
    this.#observer.keyChanged(this.key.name, { state, ...(error && { error }) });
  }
}
