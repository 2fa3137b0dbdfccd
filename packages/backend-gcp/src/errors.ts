import { BackendError, isBackendError, type BackendErrorCode } from '@sealwax/core';

interface Failure {
  /** For instance `wrap with projects/…/cryptoKeys/kms`. */
  readonly doing: string;
  /** Whether the request carried a ciphertext, which a refused argument then means. */
  readonly unwrapping: boolean;
}

interface Verdict {
  readonly code: BackendErrorCode;
  readonly reason: string;
}

/**
 * What the reason of a `google.rpc.ErrorInfo` says, where it says more than the code: the project is at fault, and nobody has revoked the
 * key. Reasons: googleapis/googleapis, google/api/error_reason.proto.
 */
const BY_REASON: Readonly<Record<string, Verdict>> = {
  SERVICE_DISABLED: { code: 'unavailable', reason: 'the Cloud KMS API is disabled in the project' },
  BILLING_DISABLED: { code: 'unavailable', reason: 'billing is disabled in the project' },
  CONSUMER_SUSPENDED: { code: 'unavailable', reason: 'the project is suspended' },
  SECURITY_POLICY_VIOLATED: { code: 'unavailable', reason: 'a service perimeter refuses this network' },
  LOCATION_POLICY_VIOLATED: { code: 'unavailable', reason: 'a policy refuses this location' },
  ACCESS_TOKEN_EXPIRED: { code: 'unauthenticated', reason: 'the token has expired' },
  ACCESS_TOKEN_SCOPE_INSUFFICIENT: { code: 'unauthenticated', reason: 'the token lacks the scope of Cloud KMS' },
};

/** What a gRPC status says: grpc/grpc, doc/statuscodes.md, and cloud.google.com/kms/docs/reference/rest/v1/… of each method. */
function byStatus(status: number, unwrapping: boolean): Verdict {
  switch (status) {
    case 3:
      if (unwrapping) return { code: 'invalid-ciphertext', reason: 'the service cannot unwrap it' };
      return { code: 'internal', reason: 'the service refuses the request as invalid' };
    case 5:
      return { code: 'key-not-found', reason: 'no such key or key version' };
    case 7:
      return { code: 'permission-denied', reason: 'permission denied' };
    case 8:
      return { code: 'throttled', reason: 'quota exceeded' };
    case 16:
      return { code: 'unauthenticated', reason: 'the service rejects the login' };
    case 1:
    case 4:
      return { code: 'unavailable', reason: 'no answer in time' };
    // INTERNAL is also what the client says of a connection that broke in the middle of an answer.
    case 2:
    case 10:
    case 13:
    case 14:
      return { code: 'unavailable', reason: `cannot be reached or does not serve (status ${status})` };
    default:
      return { code: 'internal', reason: `the service answers status ${status}` };
  }
}

/** THE table: anything thrown by the client of Cloud KMS as a `BackendError`. */
export function kmsError(error: unknown, { doing, unwrapping }: Failure): BackendError {
  if (isBackendError(error)) return error;
  const { code, reason } = verdictOn(error, unwrapping);
  return new BackendError(code, `gcp: ${doing}: ${reason}`, { cause: error, ...retryAfter(error) });
}

function verdictOn(error: unknown, unwrapping: boolean): Verdict {
  // First: a DOMException has a number under `code`, too.
  if (property(error, 'name') === 'AbortError') return { code: 'unavailable', reason: 'no answer in time' };
  const reason = property(error, 'reason');
  const known = typeof reason === 'string' ? BY_REASON[reason] : undefined;
  if (known !== undefined) return known;
  const status = property(error, 'code');
  if (status === 3 && isChecksumFailure(error)) {
    return { code: 'unavailable', reason: 'the request was damaged on its way' };
  }
  const httpStatus = httpStatusIn(error);
  if (httpStatus !== undefined) {
    return { code: 'unavailable', reason: `something on the way answers ${httpStatus} in place of the service` };
  }
  if (status === 9) {
    const state = stateIn(error);
    if (state !== undefined) return stateVerdict(state);
    // For instance an external key manager that is away: nobody has switched the key off.
    return { code: 'unavailable', reason: 'the service cannot use the key version now' };
  }
  if (typeof status === 'number') return byStatus(status, unwrapping);
  return { code: 'internal', reason: 'unexpected failure of the client' };
}

/**
 * What the state of a version says. A version whose destruction is scheduled can be restored, but an operator has decided to lose it: what
 * it wrapped is to be saved, as if it were gone. States: cloud.google.com/kms/docs/key-states.
 */
export function stateVerdict(state: string): Verdict {
  if (state.startsWith('DESTROY')) return { code: 'key-not-found', reason: `the key version is in state ${state}` };
  if (state.startsWith('PENDING')) return { code: 'unavailable', reason: `the key version is in state ${state}` };
  if (state === 'DISABLED') return { code: 'key-disabled', reason: 'the key version is disabled' };
  return { code: 'key-disabled', reason: 'the key version is not enabled' };
}

/** The state that the service names in its text (`… is not enabled, current state is: DISABLED.`); for a precondition it gives no field. */
function stateIn(error: unknown): string | undefined {
  const message = property(error, 'message');
  return typeof message === 'string' ? /current state is: ([A-Z_]+)/.exec(message)?.[1] : undefined;
}

/**
 * The status of an HTTP answer that is none of gRPC, a page of a gateway for instance, of which grpc-js makes a gRPC status
 * (`mapHttpStatusCode` in subchannel-call.ts): PERMISSION_DENIED of a 403. `undefined` for a 401, which means the same whoever sends it.
 */
function httpStatusIn(error: unknown): string | undefined {
  const details = property(error, 'details');
  const status = typeof details === 'string' ? /^Received HTTP status code (\d+)$/.exec(details)?.[1] : undefined;
  return status === '401' ? undefined : status;
}

/** The service compares checksums before all else; cloud.google.com/kms/docs/data-integrity-guidelines says to try again. */
function isChecksumFailure(error: unknown): boolean {
  const message = property(error, 'message');
  return typeof message === 'string' && /checksum|crc32c/i.test(message);
}

/** `google.rpc.RetryInfo`, where the service sends it. */
function retryAfter(error: unknown): { readonly retryAfterMs?: number } {
  const details = property(error, 'statusDetails');
  if (!Array.isArray(details)) return {};
  for (const detail of details) {
    const delay = property(detail, 'retryDelay');
    if (delay === undefined) continue;
    const seconds = Number(property(delay, 'seconds') ?? 0) + Number(property(delay, 'nanos') ?? 0) / 1e9;
    if (Number.isFinite(seconds)) return { retryAfterMs: Math.max(0, seconds * 1_000) };
  }
  return {};
}

/** An answer of something on the way, in place of the metadata server. */
export class ForeignAnswer extends Error {
  override readonly name = 'ForeignAnswer';
  readonly status: number;

  constructor(status: number) {
    super(`an answer with status ${status} that is not the metadata server's`);
    this.status = status;
  }
}

/** A login that failed: whether nobody answered or somebody said no. Of the text nothing is taken over. */
export function loginError(error: unknown): BackendError {
  if (isBackendError(error)) return error;
  const response = property(error, 'response');
  const status = Number(property(error, 'status') ?? property(response, 'status') ?? Number.NaN);
  const fail = (code: BackendErrorCode, reason: string) =>
    new BackendError(code, `gcp: log in: ${reason}`, { cause: error });
  if (status === 429) return fail('throttled', 'too many requests');
  if (status >= 500) return fail('unavailable', `the token service answers ${status}`);
  if (error instanceof ForeignAnswer || (status >= 400 && status !== 401 && isPage(response))) {
    return fail('unavailable', `something on the way answers ${status} in place of the token service`);
  }
  if (status >= 400) return fail('unauthenticated', `rejected with status ${status}`);
  const code = systemCodeOf(error);
  if (code !== undefined) return fail('unavailable', `the token service cannot be reached (${code})`);
  return fail('unauthenticated', 'the credential cannot be used');
}

/** Whether a response says no without an `error` in JSON, as no service does that gives out tokens. */
function isPage(response: unknown): boolean {
  return response !== undefined && property(property(response, 'data'), 'error') === undefined;
}

/** The code of a failed connection (ECONNREFUSED and the like), however deep the client buried it. */
function systemCodeOf(error: unknown): string | undefined {
  for (let cause = error, depth = 0; cause !== undefined && depth < 5; cause = property(cause, 'cause'), depth += 1) {
    const code = property(cause, 'code');
    if (typeof code === 'string' && /^(E[A-Z]+|[A-Z_]*(CERT|TLS|SSL)[A-Z_]*)$/.test(code)) return code;
    const name = property(cause, 'name');
    if (name === 'AbortError' || name === 'TimeoutError') return 'timeout';
  }
  return undefined;
}

function property(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}
