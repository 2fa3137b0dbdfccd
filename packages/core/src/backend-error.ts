/**
 * Why a backend's call failed: a closed list, because what the plugin does next depends on it.
 *
 * - `unavailable`: no answer, or one that says "not now" (refused, reset, timeout, 5xx, sealed, standby). Worth retrying.
 * - `throttled`: the KMS asks us to slow down. Worth retrying, after `retryAfterMs` where told.
 * - `unauthenticated`: our login was rejected (token, signature, clock, PIN). The credential's fault, so never a refusal.
 * - `permission-denied`: the login is good and lacks a right.
 * - `key-not-found`: the key or the version that the call names does not exist (any more).
 * - `key-disabled`: the key or the version exists and is switched off.
 * - `invalid-ciphertext`: the bytes to unwrap are to blame.
 * - `internal`: a defect, of the backend or of the KMS; everything that fits nowhere else.
 */
export type BackendErrorCode =
  | 'unavailable'
  | 'throttled'
  | 'unauthenticated'
  | 'permission-denied'
  | 'key-not-found'
  | 'key-disabled'
  | 'invalid-ciphertext'
  | 'internal';

const CODES: ReadonlySet<unknown> = new Set<BackendErrorCode>([
  'unavailable',
  'throttled',
  'unauthenticated',
  'permission-denied',
  'key-not-found',
  'key-disabled',
  'invalid-ciphertext',
  'internal',
]);

interface BackendErrorOptions extends ErrorOptions {
  /** How long the KMS asked us to wait, in milliseconds. */
  readonly retryAfterMs?: number;
}

/**
 * The one error a backend throws. The message says which backend did what with which key and what came of it, for instance
 * `vault: wrap with transit/kms: permission denied`, and holds no secret. It reaches the API server's log; `cause`, where the
 * provider's own error belongs, reaches only ours.
 */
export class BackendError extends Error {
  override readonly name = 'BackendError';
  readonly code: BackendErrorCode;
  readonly retryAfterMs: number | undefined;

  constructor(code: BackendErrorCode, message: string, options: BackendErrorOptions = {}) {
    super(message, options);
    this.code = code;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** Whether `error` is a `BackendError`, by its shape: a vendor's package may bring its own copy of core. */
export function isBackendError(error: unknown): error is BackendError {
  return error instanceof Error && error.name === 'BackendError' && 'code' in error && CODES.has(error.code);
}

/**
 * Any thrown value as a `BackendError`.
 *
 * The message of a foreign error is not taken over: nobody vouches that it holds no secret. It stays in `cause`.
 *
 * @param doing - what was tried, for instance `local: wrap`
 */
export function toBackendError(error: unknown, doing: string): BackendError {
  if (isBackendError(error)) return error;
  const kind = error instanceof Error ? error.name : `a ${typeof error}`;
  return new BackendError('internal', `${doing}: the backend threw ${kind} instead of a BackendError`, {
    cause: error,
  });
}
