import type { StandardSchemaV1 } from '@standard-schema/spec';
import type { Host } from './host.js';

/** A plaintext wrapped by one version of a KEK. */
export interface WrappedKey {
  /**
   * Public name of the KEK version that wrapped: 1 to 512 bytes of UTF-8 without control characters.
   *
   * It names the *version*: an alias or a name that stays the same across rotation hides rotation from the cluster.
   * It is stored in the clear with every object, so it must hold no secret.
   */
  readonly kekId: string;
  /** What the KMS returned, or the backend's own encoding of it: 1 to 2048 bytes. */
  readonly ciphertext: Uint8Array;
}

/**
 * Speaks to one kind of KMS or HSM.
 *
 * The four methods do what the provider does and nothing more. Caching, retrying, health, timeouts, logging and metrics live in
 * core, so that every backend behaves alike: throw a `BackendError`, or report a fact to the `Host`.
 *
 * Every method may be called concurrently, also with `close`. Each must stop its work and reject soon after `signal` aborts.
 */
export interface Backend {
  /**
   * The KEK version that `wrap` would use now. Called about once a minute, for as long as the plugin runs.
   *
   * @throws {BackendError}
   */
  currentKekId(signal: AbortSignal): Promise<string>;

  /**
   * Wraps `plaintext` under the current KEK version.
   *
   * The `kekId` of the answer must be the version that *this* call used; take it from the answer of the KMS and not from a second
   * call, which may race with a rotation. A missing key must be an error, never created.
   *
   * @param plaintext - 32 bytes, the caller's: do not keep, change or hand out a view of them after the promise settles
   * @throws {BackendError}
   */
  wrap(plaintext: Uint8Array, signal: AbortSignal): Promise<WrappedKey>;

  /**
   * Unwraps what `wrap` returned, in this process or in an earlier one, possibly on another node.
   *
   * `wrapped` comes from storage that an attacker may write to. Compare every part of an address in `kekId` with the
   * config before any request, and return a plaintext only if the KMS authenticated the ciphertext.
   * A version that this process has not seen yet must be tried: another node may be ahead.
   *
   * @returns the plaintext, in a buffer that nobody else holds
   * @throws {BackendError} `invalid-ciphertext` when the bytes are to blame, `key-not-found` when the version is gone
   */
  unwrap(wrapped: WrappedKey, signal: AbortSignal): Promise<Uint8Array>;

  /** Ends sessions, sockets, timers and watches; a call that comes later rejects. Called once, also after `Host.signal` aborted. */
  close(): Promise<void>;
}

/** What a backend's package exports under the name `backend`. */
export interface BackendModule<Config> {
  /** The version of this interface that the module was written for. */
  readonly apiVersion: 1;
  /**
   * Checks and fills the key's `config` section; any schema library that speaks Standard Schema fits.
   * Unknown keys should be issues. Secrets appear in it as paths only.
   *
   * @see https://standardschema.dev
   */
  readonly config: StandardSchemaV1<unknown, Config>;
  /**
   * Makes a backend that is ready to use; called again after a failure, for ever, with growing pauses.
   *
   * @throws {BackendError} when the KMS or a credential is at fault
   * @throws {ConfigError} when only a change of the config can help
   */
  open(config: Config, host: Host): Promise<Backend>;
}

/** The version of `BackendModule` that this core speaks; it accepts the one before too, once there is one. */
export const BACKEND_API_VERSION = 1;
