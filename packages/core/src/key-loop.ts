import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  bulkhead,
  ExponentialBackoff,
  handleAll,
  retry,
  type BulkheadPolicy,
  type FailureReason,
  type IBackoff,
  type IRetryBackoffContext,
} from 'cockatiel';
import { BackendError, toBackendError } from './backend-error.js';
import type { Backend, WrappedKey } from './backend.js';
import { isPublicName, type LocalKeyRecord } from './envelope.js';
import { lendHost, type Fact } from './host.js';
import type { Key, Role } from './key.js';
import { LocalKey } from './local-key.js';
import type { Observer } from './observer.js';
import { NotAskedError, OutageBreaker, retryAfterMs } from './outage-breaker.js';
import { troubleOf } from './policy.js';
import { RemoteCalls } from './remote-calls.js';

const FIRST_BACKOFF_MS = 500;
const LONGEST_BACKOFF_MS = 30_000;
/** A changed KEK id is read again this soon, so that a rotation does not take two probe intervals. */
const CONFIRM_MS = 5_000;
const REOPEN_PAUSE_MS = 1_000;
const MAX_WRAPPED_LENGTH = 2_048;

export interface RemoteLimits {
  /** Between two probes of a healthy key. */
  readonly probeIntervalMs: number;
  /** For every call of a backend. */
  readonly remoteCallMs: number;
  /** Unwraps at the same time, for each key. */
  readonly unwrapConcurrency: number;
}

/** How a key does. Durations are on the monotonic clock: a jump of the wall clock changes none of them. */
export interface LoopState {
  readonly name: string;
  readonly role: Role;
  readonly backend: string;
  readonly state: 'opening' | 'ready' | 'failing';
  /** For how long it has been in this state. */
  readonly forMs: number;
  /** Since the last call that the KMS answered as hoped; `undefined` when there was none. */
  readonly lastGoodContactMs: number | undefined;
  /** Since the last turn ended, whatever came of it; `undefined` before the first. */
  readonly lastProbeMs: number | undefined;
  /** The KEK version in use, once read. */
  readonly kekId: string | undefined;
  /** Why it is failing. */
  readonly error: BackendError | undefined;
  /** For how long the KMS has been away or has rejected our login; `undefined` when it is neither. */
  readonly outForMs: number | undefined;
  /** For how long every unwrap probe was refused while the login was good; `undefined` when the last one was not. */
  readonly refusedForMs: number | undefined;
}

/** What the ring does with a key in each of its turns. */
export interface Duties {
  /** Unwraps something that the key wrapped; does nothing when there is no such thing. */
  readonly probe: () => Promise<void>;
  /** After a good reading of the KEK id, whatever came of the probe. May throw; is then repeated after a pause. */
  readonly tend: () => Promise<void>;
}

interface KeyLoopOptions {
  readonly key: Key;
  readonly limits: RemoteLimits;
  readonly observer: Observer;
  readonly duties: Duties;
}

/**
 * Does for one key everything that is remote: opens its backend, learns the current KEK id, wraps, unwraps, probes, and goes on for ever,
 * with growing pauses while it fails. RPCs only read what it found.
 */
export class KeyLoop {
  #key: Key;
  readonly #limits: RemoteLimits;
  readonly #observer: Observer;
  readonly #duties: Duties;
  readonly #closing = new AbortController();
  readonly #calls: RemoteCalls;
  readonly #unwraps: BulkheadPolicy;
  readonly #breaker = new OutageBreaker();
  #wake = new AbortController();
  #retired = false;
  #backend: Backend | undefined;
  #opening: Promise<Backend> | undefined;
  #openFailure: { readonly error: BackendError; readonly atMs: number } | undefined;
  #kekId: string | undefined;
  #unconfirmedKekId: string | undefined;
  #state: LoopState['state'] = 'opening';
  #stateSinceMs = performance.now();
  #outSinceMs: number | undefined;
  #refusedSinceMs: number | undefined;
  #turnedAtMs: number | undefined;
  #error: BackendError | undefined;
  #settleFirstTurn: (failure: BackendError | undefined) => void = () => undefined;

  /** Resolves with what came of the first turn: `undefined` when it went well. */
  readonly firstTurn = new Promise<BackendError | undefined>((resolve) => {
    this.#settleFirstTurn = resolve;
  });

  constructor({ key, limits, observer, duties }: KeyLoopOptions) {
    this.#key = key;
    this.#limits = limits;
    this.#observer = observer;
    this.#duties = duties;
    // Every call that is under way listens; Node 20 would take more than ten for a leak.
    setMaxListeners(0, this.#closing.signal);
    this.#calls = new RemoteCalls(key, { limitMs: limits.remoteCallMs, observer, closing: this.#closing.signal });
    this.#unwraps = bulkhead(limits.unwrapConcurrency, Infinity);
  }

  get key(): Key {
    return this.#key;
  }

  /** Gives the key another role; what is open stays open. */
  changeRole({ role, required }: Pick<Key, 'role' | 'required'>): void {
    this.#key = { ...this.#key, role, required };
  }

  /** The KEK version in use: read when the key was opened, or twice in a row since. */
  get kekId(): string | undefined {
    return this.#kekId;
  }

  get isReady(): boolean {
    return this.#state === 'ready';
  }

  get state(): LoopState {
    const now = performance.now();
    const since = (atMs: number | undefined) => (atMs === undefined ? undefined : now - atMs);
    return {
      name: this.#key.name,
      role: this.#key.role,
      backend: this.#key.backendName,
      state: this.#state,
      forMs: now - this.#stateSinceMs,
      lastGoodContactMs: since(this.#calls.lastGoodAtMs),
      lastProbeMs: since(this.#turnedAtMs),
      kekId: this.#kekId,
      error: this.#error,
      outForMs: since(this.#outSinceMs),
      refusedForMs: since(this.#refusedSinceMs),
    };
  }

  /** Runs until `close`; never throws. */
  async run(): Promise<void> {
    const { signal } = this.#closing;
    const backoff = new ExponentialBackoff({
      initialDelay: FIRST_BACKOFF_MS,
      maxDelay: Math.min(LONGEST_BACKOFF_MS, this.#limits.probeIntervalMs),
    });
    const untilGood = retry(handleAll, {
      maxAttempts: Infinity,
      backoff: { next: ({ result }) => notSooner(backoff.next(), waitAskedBy(result)) },
    });
    try {
      while (!signal.aborted && !this.#retired) {
        await untilGood.execute(() => this.#turn(), signal);
        await this.#pause();
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  /** Ends the pause between two turns: something is to be done now. A turn that is under way or failing is left alone. */
  hurry(): void {
    this.#wake.abort();
  }

  /**
   * Wraps `localKey` and unwraps it again: a record that does not open is never returned.
   *
   * @throws {BackendError}
   */
  async wrap(localKey: LocalKey): Promise<LocalKeyRecord> {
    return this.#calls.counting(this.#wrap(localKey));
  }

  /**
   * Unwraps a record of this key; opens the backend first if that is not yet done.
   *
   * @throws {BackendError}
   */
  async unwrap(wrapped: WrappedKey): Promise<LocalKey> {
    const localKey = await this.#calls.counting(this.#unwraps.execute(() => this.#unwrap(wrapped)));
    this.#breaker.close();
    return localKey;
  }

  /**
   * Unwraps for a Decrypt: while the KMS is away only now and then, so that no storm of Decrypts becomes one on the KMS.
   *
   * @throws {BackendError}
   */
  async unwrapForDecrypt(wrapped: WrappedKey): Promise<LocalKey> {
    try {
      // The breaker inside: what has waited for its turn asks it anew.
      return await this.#calls.counting(
        this.#unwraps.execute(() => this.#breaker.execute(() => this.#unwrap(wrapped))),
      );
    } catch (error) {
      if (!(error instanceof NotAskedError)) throw error;
      const reason = this.#error?.message ?? 'its KMS did not answer the last Decrypts';
      throw new BackendError('unavailable', `not asked again yet: ${reason}`, { cause: error });
    }
  }

  /** Takes note that a call which the ring made for itself failed: the key is failing from now on. */
  noteFailure(error: BackendError): void {
    if (!this.#closing.signal.aborted) this.#enter('failing', error);
  }

  /** Takes no more turns, lets what is in flight be answered, then closes. */
  async retire(): Promise<void> {
    this.#retired = true;
    this.hurry();
    await this.#calls.idle();
    await this.close();
  }

  /** Stops the loop and closes the backend; waits for it no longer than any other remote call may take. */
  async close(): Promise<void> {
    this.#closing.abort();
    const backend = this.#backend ?? (await this.#opening?.catch(() => undefined));
    if (backend === undefined) return;
    try {
      await this.#calls.call('close', () => backend.close());
    } catch {
      // Observed by #calls; nothing is left to be done with a backend that cannot be closed.
    }
  }

  /** One turn: everything that is due, once. */
  async #turn(): Promise<void> {
    const failures: BackendError[] = [];
    const attempt = async (duty: () => Promise<void>): Promise<BackendError | undefined> => {
      try {
        await duty();
        return undefined;
      } catch (error) {
        const failure = toBackendError(error, this.#key.backendName);
        failures.push(failure);
        return failure;
      }
    };
    const unread = await attempt(() => this.#learn());
    // A reading that is refused, or finds no key, says nothing of unwrapping, which is what refusal and loss are judged by.
    if (unread === undefined || troubleOf(unread.code) !== 'outage') {
      this.#judge(await attempt(this.#duties.probe), unread);
    } else {
      this.#refusedSinceMs = undefined;
    }
    if (unread === undefined) await attempt(this.#duties.tend);
    this.#turnedAtMs = performance.now();
    const [failure] = failures;
    this.#settleFirstTurn(failure);
    if (failure === undefined) {
      this.#enter('ready');
      return;
    }
    // What closing cut short is no failure of the key.
    if (!this.#closing.signal.aborted) this.#enter('failing', failure);
    throw failure;
  }

  async #wrap(localKey: LocalKey): Promise<LocalKeyRecord> {
    const backend = await this.#opened();
    const wrapped = await localKey.borrow((bytes) => this.#calls.call('wrap', (signal) => backend.wrap(bytes, signal)));
    const record = { keyName: this.#key.name, ...this.#checkWrapped(wrapped) };
    const unwrapped = await this.unwrap(record);
    const same = unwrapped.equals(localKey);
    unwrapped.destroy();
    if (!same) throw this.#broken('unwrap returned other bytes than were wrapped');
    // The answer of wrap is the truest reading there is of the version in use.
    this.#kekId = record.kekId;
    this.#unconfirmedKekId = undefined;
    return record;
  }

  async #unwrap({ kekId, ciphertext }: WrappedKey): Promise<LocalKey> {
    const backend = await this.#opened();
    const bytes = await this.#calls.call('unwrap', async (signal) => {
      // A copy, so that a backend that changes its input changes nobody's record; the slice() of a Buffer would be a view.
      const answer = await backend.unwrap({ kekId, ciphertext: Uint8Array.from(ciphertext) }, signal);
      // Nobody waits for it any more: it came later than a remote call may.
      if (signal.aborted && answer instanceof Uint8Array) answer.fill(0);
      return answer;
    });
    if (!(bytes instanceof Uint8Array)) throw this.#broken('unwrap returned no bytes');
    try {
      return LocalKey.fromBytes(bytes);
    } catch (error) {
      throw this.#broken(`unwrap returned ${error instanceof Error ? error.message : 'no local key'}`);
    } finally {
      bytes.fill(0);
    }
  }

  async #learn(): Promise<void> {
    const backend = await this.#opened();
    const kekId: unknown = await this.#calls.call('currentKekId', (signal) => backend.currentKekId(signal));
    if (!isPublicName(kekId)) {
      throw this.#broken('currentKekId returned no KEK id (1 to 512 bytes without control characters)');
    }
    if (this.#kekId === undefined || kekId === this.#unconfirmedKekId) this.#kekId = kekId;
    this.#unconfirmedKekId = kekId === this.#kekId ? undefined : kekId;
  }

  /** Keeps the time since which every probe was refused. Without anything to unwrap, the refused reading is the probe. */
  #judge(probeFailure: BackendError | undefined, unread: BackendError | undefined): void {
    const verdict = probeFailure ?? unread;
    if (verdict !== undefined && troubleOf(verdict.code) === 'refusal') this.#refusedSinceMs ??= performance.now();
    else this.#refusedSinceMs = undefined;
  }

  async #pause(): Promise<void> {
    const { probeIntervalMs } = this.#limits;
    const pauseMs = this.#unconfirmedKekId === undefined ? probeIntervalMs : Math.min(CONFIRM_MS, probeIntervalMs);
    this.#wake = new AbortController();
    await sleep(pauseMs, undefined, { signal: AbortSignal.any([this.#closing.signal, this.#wake.signal]) }).catch(
      () => {
        // Woken, or closed: the loop looks which.
      },
    );
  }

  async #opened(): Promise<Backend> {
    if (this.#backend !== undefined) return this.#backend;
    // Decrypts ask for an open too: they share one that is under way and do not repeat one that has just failed.
    if (this.#openFailure !== undefined && performance.now() - this.#openFailure.atMs < REOPEN_PAUSE_MS / 2) {
      throw this.#openFailure.error;
    }
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
    const { name, backendName, module, config } = this.#key;
    let late = false;
    try {
      this.#backend = await this.#calls.call('open', async () => {
        const report = (fact: Fact) => {
          // Another backend may have taken the name over already.
          if (!this.#retired && !life.signal.aborted) this.#observer.fact(name, fact);
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

  #checkWrapped(wrapped: unknown): WrappedKey {
    const { kekId, ciphertext } = (wrapped ?? {}) as Partial<Record<keyof WrappedKey, unknown>>;
    if (!isPublicName(kekId)) {
      throw this.#broken('wrap returned no KEK id (1 to 512 bytes without control characters)');
    }
    if (!(ciphertext instanceof Uint8Array) || ciphertext.length === 0 || ciphertext.length > MAX_WRAPPED_LENGTH) {
      throw this.#broken(`wrap returned no ciphertext of 1 to ${MAX_WRAPPED_LENGTH} bytes`);
    }
    // A copy: a backend may hand out a view of a buffer that it uses again, and the slice() of a Buffer would be one more view.
    return { kekId, ciphertext: Uint8Array.from(ciphertext) };
  }

  #broken(reason: string): BackendError {
    return new BackendError('internal', `${this.#key.backendName}: ${reason}`);
  }

  #enter(state: 'ready' | 'failing', error?: BackendError): void {
    this.#error = error;
    const now = performance.now();
    if (error !== undefined && troubleOf(error.code) === 'outage') this.#outSinceMs ??= now;
    else this.#outSinceMs = undefined;
    if (state === this.#state) return;
    this.#state = state;
    this.#stateSinceMs = now;
    this.#observer.keyChanged(this.#key.name, { state, ...(error && { error }) });
  }
}

/** The pauses of `backoff`, none of them shorter than what the KMS asked for. */
function notSooner(backoff: IBackoff<unknown>, atLeastMs: number): IBackoff<IRetryBackoffContext<unknown>> {
  return {
    duration: Math.max(backoff.duration, atLeastMs),
    next: (context) => notSooner(backoff.next(context), waitAskedBy(context.result)),
  };
}

function waitAskedBy(failure: FailureReason<unknown>): number {
  return 'error' in failure ? retryAfterMs(failure.error) : 0;
}
