import { BackendError, isBackendError, type BackendErrorCode } from '@sealwax/core';

interface Failure {
  /** For instance `wrap with https://prod-kms.vault.azure.net/keys/kms/…`. */
  readonly doing: string;
  /** Whether the request carried a ciphertext, which a refused parameter then means. */
  readonly unwrapping: boolean;
}

interface Verdict {
  readonly code: BackendErrorCode;
  readonly reason: string;
}

/**
 * What an inner error code says, where it says more than the status.
 *
 * The codes: learn.microsoft.com/azure/key-vault/general/rest-error-codes, and answers of the service quoted in issues of
 * Azure/azure-sdk-for-js (#24756) and Azure/azure-sdk-for-python (#45342).
 */
const BY_INNER_CODE: Readonly<Record<string, Verdict>> = {
  KeyDisabled: { code: 'key-disabled', reason: 'the key version is disabled' },
  KeyNotYetValid: { code: 'key-disabled', reason: 'the key version is not yet valid' },
  KeyExpired: { code: 'key-disabled', reason: 'the key version has expired; rotate the key' },
  // Settings of the network, by which nobody revokes a key.
  ForbiddenByFirewall: { code: 'unavailable', reason: 'the firewall of the vault refuses this address' },
  ForbiddenByConnection: { code: 'unavailable', reason: 'the vault refuses connections from this network' },
  ObjectIsDeletedButRecoverable: { code: 'key-not-found', reason: 'the key is deleted and can be recovered' },
  ObjectIsBeingDeleted: { code: 'key-not-found', reason: 'the key is being deleted' },
};

/** What a status says. */
function byStatus(status: number, unwrapping: boolean): Verdict {
  if (status === 401) return { code: 'unauthenticated', reason: 'the vault rejects the login' };
  if (status === 403) return { code: 'permission-denied', reason: 'permission denied' };
  if (status === 404) return { code: 'key-not-found', reason: 'no such key or key version' };
  if (status === 429) return { code: 'throttled', reason: 'too many requests' };
  if (status === 400 && unwrapping) return { code: 'invalid-ciphertext', reason: 'the vault cannot unwrap it' };
  if (status === 408 || status >= 500) return { code: 'unavailable', reason: `the service answers ${status}` };
  return { code: 'internal', reason: `the service answers ${status}` };
}

/** THE table: anything thrown by the client of Key Vault as a `BackendError`. */
export function vaultError(error: unknown, { doing, unwrapping }: Failure): BackendError {
  if (isBackendError(error)) return error;
  const { code, reason } = verdictOn(error, unwrapping);
  return new BackendError(code, `azure: ${doing}: ${reason}`, { cause: error, ...retryAfter(error) });
}

function verdictOn(error: unknown, unwrapping: boolean): Verdict {
  const status = property(error, 'statusCode');
  if (typeof status === 'number') {
    // Whoever sends a 401 or a 429, they mean the same.
    if (property(error, 'code') === foreignCode(status) && status !== 401 && status !== 429) {
      return { code: 'unavailable', reason: `something on the way answers ${status} in place of the vault` };
    }
    return BY_INNER_CODE[innerCode(error) ?? ''] ?? byStatus(status, unwrapping);
  }
  // The client compares the resource that the challenge names with the host that was asked.
  if (error instanceof Error && error.message.startsWith('The challenge')) {
    return { code: 'unauthenticated', reason: 'the vault asks for a login to another domain than its own' };
  }
  return connectionVerdict(error) ?? { code: 'internal', reason: 'unexpected failure of the client' };
}

/** A failure to reach the other side, `undefined` for anything else. */
function connectionVerdict(error: unknown): Verdict | undefined {
  if (property(error, 'name') === 'AbortError') return { code: 'unavailable', reason: 'no answer in time' };
  const code = property(error, 'code');
  if (property(error, 'name') !== 'RestError' || typeof code !== 'string') return undefined;
  // Codes of Node.js: ECONNREFUSED, ENOTFOUND, CERT_HAS_EXPIRED and the like; none holds anything of the request.
  return { code: 'unavailable', reason: `cannot be reached (${code})` };
}

/** A failed request for a token that is not the credential's fault; `undefined` when only the answer can tell. */
export function loginTrouble(
  failure: { readonly error: unknown } | { readonly status: number; readonly body: string | null | undefined },
): BackendError | undefined {
  if ('error' in failure) {
    const { reason } = connectionVerdict(failure.error) ?? { reason: 'unexpected failure of the client' };
    return new BackendError('unavailable', `azure: log in: ${reason}`, { cause: failure.error });
  }
  const { status, body } = failure;
  if (status === 429) return new BackendError('throttled', 'azure: log in: too many requests');
  if (status >= 500) return new BackendError('unavailable', `azure: log in: the service answers ${status}`);
  // A 401 without a body is the first answer of the agent of Azure Arc.
  if (status < 400 || status === 401 || errorIn(body) !== undefined) return undefined;
  return new BackendError(
    'unavailable',
    `azure: log in: something on the way answers ${status} in place of the token service`,
  );
}

/** A login that was rejected. Of the text only the code is taken over: nobody vouches for the rest. */
export function loginError(error: unknown): BackendError {
  if (isBackendError(error)) return error;
  // learn.microsoft.com/entra/identity-platform/reference-error-codes
  const known =
    error instanceof Error ? /AADSTS\d+|invalid_client|unauthorized_client|invalid_request/.exec(error.message) : null;
  const reason = known === null ? 'no token to be had' : `rejected with ${known[0]}`;
  return new BackendError('unauthenticated', `azure: log in: ${reason}`, { cause: error });
}

/** The code of an error in place of one that something on the way has not given. */
export function foreignCode(status: number): string {
  return `Http${status}`;
}

/** Whether the body of an answer is an error of Key Vault, which always has a code, and not a page of something on the way. */
export function isErrorOfVault(body: string | null | undefined): boolean {
  return typeof property(errorIn(body), 'code') === 'string';
}

/** `error` of an answer in JSON: an object of the vault, a text of those that give out tokens. */
function errorIn(body: string | null | undefined): unknown {
  try {
    return property(JSON.parse(body ?? ''), 'error');
  } catch {
    return undefined;
  }
}

/** `error.innererror.code` of the answer, under the name that the SDK gives it. */
function innerCode(error: unknown): string | undefined {
  const answer = property(property(error, 'details'), 'error');
  const code = property(property(answer, 'innerError') ?? property(answer, 'innererror'), 'code');
  return typeof code === 'string' ? code : undefined;
}

function retryAfter(error: unknown): { readonly retryAfterMs?: number } {
  const headers = property(property(error, 'response'), 'headers');
  const value = isLookup(headers) ? headers.get('retry-after') : undefined;
  if (typeof value !== 'string' || value === '') return {};
  // Seconds or a date: RFC 9110 §10.2.3.
  const ms = /^\d+$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? { retryAfterMs: Math.max(0, ms) } : {};
}

function isLookup(value: unknown): value is { get(name: string): unknown } {
  return typeof property(value, 'get') === 'function';
}

function property(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}
