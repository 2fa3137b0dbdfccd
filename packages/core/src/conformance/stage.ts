import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { isBackendError, type BackendError, type BackendErrorCode } from '../backend-error.js';
import type { Backend, WrappedKey } from '../backend.js';
import { isPublicName } from '../envelope.js';
import { LEFT_OUT, type Fact } from '../host.js';
import type { FaultName, Harness } from './harness.js';
import { openBackend, type OpenedBackend } from './open-backend.js';
import { CALL_LIMIT_MS, eventually, RECOVERY_LIMIT_MS, settled } from './patience.js';
import { secretIn } from './secret-in.js';

const PLAINTEXT_LENGTH = 32;
const MAX_CIPHERTEXT_LENGTH = 2_048;

export type RemoteCallName = 'currentKekId' | 'wrap' | 'unwrap';
export type RemoteCall = (signal: AbortSignal) => Promise<unknown>;

/** Harnesses whose service was broken and mended: the next backend may find a client that still pauses between two connections. */
const mended = new WeakSet<Harness>();

/**
 * Where one case is played: opens backends, breaks the service, and leaves both as it found them.
 *
 * It calls backends as core does (a signal of its own for each call, never for ever) and holds every answer and every error against
 * what the interface says of all of them.
 */
export class Stage {
  readonly harness: Harness;
  readonly #opened: OpenedBackend[] = [];
  readonly #plaintexts: Uint8Array[] = [];
  #broken = false;

  constructor(harness: Harness) {
    this.harness = harness;
  }

  /** Opens a backend that works. */
  async open(): Promise<OpenedBackend> {
    if (!mended.has(this.harness)) return this.openNow();
    const opened = await eventually(() => this.openNow(), RECOVERY_LIMIT_MS);
    await eventually(() => this.kekId(opened.backend), RECOVERY_LIMIT_MS);
    mended.delete(this.harness);
    return opened;
  }

  /** Opens a backend, whatever becomes of it: one attempt. */
  async openNow(): Promise<OpenedBackend> {
    const opened = await settled(openBackend(this.harness), CALL_LIMIT_MS, 'open');
    this.#opened.push(opened);
    return opened;
  }

  /** Ends one backend before its case is over. */
  async close(opened: OpenedBackend): Promise<void> {
    const index = this.#opened.indexOf(opened);
    if (index >= 0) this.#opened.splice(index, 1);
    await settled(opened.end(), CALL_LIMIT_MS, 'close');
  }

  /** A random plaintext, which must from then on appear in no message. */
  plaintext(): Uint8Array {
    const plaintext = Uint8Array.from(randomBytes(PLAINTEXT_LENGTH));
    this.#plaintexts.push(Uint8Array.from(plaintext));
    return plaintext;
  }

  async kekId(backend: Backend): Promise<string> {
    const kekId: unknown = await this.call('currentKekId', (signal) => backend.currentKekId(signal));
    assertKekId(kekId, 'currentKekId');
    return kekId;
  }

  async wrap(backend: Backend, plaintext: Uint8Array): Promise<WrappedKey> {
    const before = Uint8Array.from(plaintext);
    const wrapped = await this.call('wrap', (signal) => backend.wrap(plaintext, signal));
    assertSame(plaintext, before, "wrap changed the caller's buffer");
    assertKekId(wrapped.kekId, 'wrap');
    const { ciphertext }: { ciphertext: unknown } = wrapped;
    assert.ok(ciphertext instanceof Uint8Array, 'wrap: the ciphertext must be a Uint8Array');
    assert.ok(
      ciphertext.length >= 1 && ciphertext.length <= MAX_CIPHERTEXT_LENGTH,
      `wrap: a ciphertext of ${ciphertext.length} bytes; 1 to ${MAX_CIPHERTEXT_LENGTH} are allowed`,
    );
    return wrapped;
  }

  async unwrap(backend: Backend, wrapped: WrappedKey): Promise<Uint8Array> {
    const plaintext: unknown = await this.call('unwrap', (signal) => backend.unwrap(wrapped, signal));
    assert.ok(plaintext instanceof Uint8Array, 'unwrap: the plaintext must be a Uint8Array');
    return plaintext;
  }

  /** Unwraps and compares. */
  async unwrapsTo(backend: Backend, wrapped: WrappedKey, plaintext: Uint8Array): Promise<void> {
    assertSame(await this.unwrap(backend, wrapped), plaintext, 'unwrap returned other bytes than were wrapped');
  }

  /** @returns what was wrapped, already unwrapped once */
  async roundTrip(backend: Backend): Promise<WrappedKey> {
    const plaintext = this.plaintext();
    const wrapped = await this.wrap(backend, plaintext);
    await this.unwrapsTo(backend, wrapped, plaintext);
    return wrapped;
  }

  /** A call that should succeed. */
  async call<T>(what: string, call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { signal } = new AbortController();
    return settled(call(signal), CALL_LIMIT_MS, what);
  }

  /**
   * The error of a call that must fail: a `BackendError` by its shape, with one of `codes`, in time, and without a secret.
   *
   * @param what - stands before the assertion's message
   */
  async failureOf(
    what: string,
    call: (signal: AbortSignal) => Promise<unknown>,
    codes: readonly BackendErrorCode[],
  ): Promise<BackendError> {
    const { signal } = new AbortController();
    const attempt = (async () => call(signal))();
    const error = await settled(
      attempt.then(
        () => assert.fail(`${what}: succeeded, and should fail with ${codes.join(' or ')}`),
        (reason: unknown) => {
          if (reason instanceof assert.AssertionError) throw reason;
          return reason;
        },
      ),
      CALL_LIMIT_MS,
      what,
    );
    this.assertNoSecret(error, what);
    assert.ok(isBackendError(error), `${what}: threw ${describe(error)} instead of a BackendError with a known code`);
    assert.ok(
      codes.includes(error.code),
      `${what}: failed with ${error.code}, and should with ${codes.join(' or ')} (${error.message})`,
    );
    return error;
  }

  /** Each call that asks the KMS, by its name, ready to be made. */
  async remoteCalls(backend: Backend): Promise<Readonly<Record<RemoteCallName, RemoteCall>>> {
    const wrapped = await this.roundTrip(backend);
    return {
      currentKekId: (signal) => backend.currentKekId(signal),
      wrap: (signal) => backend.wrap(this.plaintext(), signal),
      unwrap: (signal) => backend.unwrap(wrapped, signal),
    };
  }

  /** @throws {AssertionError} when a fact that was reported shows a secret of the harness */
  assertNoSecretInFacts({ facts }: OpenedBackend): void {
    for (const fact of facts) this.assertNoSecret(JSON.stringify(fact), `report of ${fact.kind}`);
  }

  /** @throws {AssertionError} when `thrown` shows a secret of the harness or a plaintext, its `cause` aside */
  assertNoSecret(thrown: unknown, what: string): void {
    const secret = secretIn(thrown, this.harness.secrets, this.#plaintexts);
    assert.ok(secret === undefined, `${what}: it shows ${secret ?? ''}`);
  }

  /** Breaks the service, until `mend` or the end of the case. */
  async befall(fault: FaultName): Promise<void> {
    const befall = this.harness.faults[fault];
    if (typeof befall !== 'function') assert.fail(`the harness has no fault "${fault}": ${befall ?? ''}`);
    this.#broken = true;
    await befall();
  }

  async mend(): Promise<void> {
    if (!this.#broken) return;
    await this.harness.mend();
    this.#broken = false;
    mended.add(this.harness);
  }

  /** Mends the service and waits until `backend` works again, without being opened anew. */
  async recovers(backend: Backend, fault: FaultName): Promise<void> {
    await this.mend();
    try {
      await eventually(() => this.roundTrip(backend), RECOVERY_LIMIT_MS);
    } catch (error) {
      assert.fail(`the same instance does not work again after ${fault} was mended: ${describe(error)}`);
    }
  }

  /** Mends and closes all; the first failure counts. */
  async end(): Promise<void> {
    await this.mend();
    const all = this.#opened.splice(0);
    for (const opened of all) await settled(opened.end(), CALL_LIMIT_MS, 'close');
    for (const { facts } of all) assertShowable(facts);
  }
}

export function assertKekId(kekId: unknown, what: string): asserts kekId is string {
  assert.ok(isPublicName(kekId), `${what}: the KEK id must be 1 to 512 bytes of UTF-8 without control characters`);
}

export function assertSame(actual: Uint8Array, expected: Uint8Array, message: string): void {
  assert.ok(Buffer.compare(actual, expected) === 0, message);
}

/** Whether `Host.report` let through all that the backend reported. */
function assertShowable(facts: readonly Fact[]): void {
  for (const fact of facts) {
    if (fact.kind === 'advice' && fact.text.startsWith(LEFT_OUT))
      assert.fail(`host.report: ${fact.text.slice(LEFT_OUT.length)}`);
  }
}

/** The failure of a case because of what a backend threw. */
export function causedBy(thrown: unknown, message: string): assert.AssertionError {
  const failure = new assert.AssertionError({ message });
  failure.cause = thrown;
  return failure;
}

/** A thrown value for an assertion's message. */
export function describe(thrown: unknown): string {
  return thrown instanceof Error ? `${thrown.name} (${thrown.message})` : `a ${typeof thrown}`;
}
