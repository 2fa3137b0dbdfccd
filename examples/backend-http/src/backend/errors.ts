import type { IncomingMessage } from 'node:http';
import { BackendError, type BackendErrorCode } from '@sealwax/core';

/** What the KMS calls its errors, and what they mean to Sealwax. */
const CODES: ReadonlyMap<unknown, BackendErrorCode> = new Map([
  ['bad-credentials', 'unauthenticated'],
  ['token-expired', 'unauthenticated'],
  ['denied', 'permission-denied'],
  ['no-such-key', 'key-not-found'],
  ['no-such-version', 'key-not-found'],
  ['key-disabled', 'key-disabled'],
  ['bad-ciphertext', 'invalid-ciphertext'],
  ['quota-exceeded', 'throttled'],
]);

/** An answer that is not 2xx; `error` is the KMS's own name for it. */
export function refused(doing: string, response: IncomingMessage, error: unknown): BackendError {
  const { statusCode: status = 0, headers } = response;
  const { 'retry-after': retryAfter = '' } = headers;
  // By name and not by status: the 404 of a load balancer must not look like a lost key.
  const known = CODES.get(error);
  const code = known ?? (status === 429 ? 'throttled' : status >= 500 ? 'unavailable' : 'internal');
  const reason = known === undefined ? `status ${status}` : String(error).replaceAll('-', ' ');
  const after = /^\d+$/.test(retryAfter) ? { retryAfterMs: Number(retryAfter) * 1000 } : {};
  return new BackendError(code, `http: ${doing}: ${reason}`, after);
}
