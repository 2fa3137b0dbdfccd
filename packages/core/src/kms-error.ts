import type { BackendErrorCode } from './backend-error.js';

/** The gRPC status codes that an RPC of the plugin answers with; names as in the gRPC specification. */
export type KmsErrorCode =
  | 'CANCELLED'
  | 'INVALID_ARGUMENT'
  | 'NOT_FOUND'
  | 'PERMISSION_DENIED'
  | 'RESOURCE_EXHAUSTED'
  | 'FAILED_PRECONDITION'
  | 'INTERNAL'
  | 'UNAVAILABLE'
  | 'UNAUTHENTICATED';

/** An RPC's failure. The message is sent to the API server, which logs it: no secret in it. */
export class KmsError extends Error {
  override readonly name = 'KmsError';
  readonly code: KmsErrorCode;

  constructor(code: KmsErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/**
 * What the API server sees of a backend's failure. It does not branch on the code: it becomes a metric label and a log line, so
 * codes serve operators.
 */
export const KMS_CODE_OF: Readonly<Record<BackendErrorCode, KmsErrorCode>> = {
  unavailable: 'UNAVAILABLE',
  throttled: 'RESOURCE_EXHAUSTED',
  unauthenticated: 'UNAUTHENTICATED',
  'permission-denied': 'PERMISSION_DENIED',
  'key-not-found': 'NOT_FOUND',
  'key-disabled': 'FAILED_PRECONDITION',
  'invalid-ciphertext': 'INVALID_ARGUMENT',
  internal: 'INTERNAL',
};
