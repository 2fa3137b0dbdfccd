import { BackendError, isBackendError, systemErrorText, type BackendErrorCode } from '@sealwax/core';

/** What an exception of the service means: a code, and the reason as our messages say it. */
interface Meaning {
  readonly code: BackendErrorCode;
  readonly reason: string;
}

const mean = (code: BackendErrorCode, reason: string): Meaning => ({ code, reason });
const away = mean('unavailable', 'KMS does not answer as it should; it may be retried');
const throttled = mean('throttled', 'too many requests');
const rejected = mean('unauthenticated', 'the credentials were rejected');
const expired = mean('unauthenticated', 'the credentials have expired');
const clock = mean('unauthenticated', 'the signature was rejected: wrong secret access key, or a clock that is off');
const denied = mean('permission-denied', 'permission denied');
const request = mean('internal', 'KMS does not take the request');

/**
 * The table: exceptions by name, because KMS and what stands in its place disagree on statuses.
 *
 * It holds every exception that the model of KMS names for Encrypt, Decrypt and DescribeKey, and the errors common to all AWS services
 * (https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html) with the names under which other services know them.
 */
export const MEANINGS: Readonly<Record<string, Meaning>> = {
  // The three operations, as the model has them.
  DependencyTimeoutException: away,
  DisabledException: mean('key-disabled', 'the key is disabled'),
  DryRunOperationException: request,
  IncorrectKeyException: mean('invalid-ciphertext', 'another key made the ciphertext'),
  InvalidArnException: request,
  InvalidCiphertextException: mean('invalid-ciphertext', 'the ciphertext or its encryption context is invalid'),
  InvalidGrantTokenException: request,
  InvalidKeyUsageException: mean(
    'internal',
    'the key is not for symmetric encryption; use one with KeySpec SYMMETRIC_DEFAULT',
  ),
  KMSInternalException: away,
  // Where the message says that the key was switched off, `meaningOf` knows better.
  KMSInvalidStateException: mean('unavailable', 'the state of the key, or of its key store, does not allow it'),
  KeyUnavailableException: mean('unavailable', 'the key is not available at the moment'),
  NotFoundException: mean('key-not-found', 'no such key or alias'),

  // Common to all services.
  AccessDenied: denied,
  AccessDeniedException: denied,
  AuthFailure: rejected,
  ExpiredToken: expired,
  ExpiredTokenException: expired,
  IncompleteSignature: clock,
  IncompleteSignatureException: clock,
  InternalFailure: away,
  InternalServerError: away,
  InternalServerException: away,
  InvalidAccessKeyId: rejected,
  InvalidClientTokenId: rejected,
  InvalidSignatureException: clock,
  MalformedHttpRequestException: request,
  MissingAuthenticationToken: rejected,
  MissingAuthenticationTokenException: rejected,
  NotAuthorized: denied,
  // The account, not the principal: never to be taken for a refusal.
  OptInRequired: mean('unauthenticated', 'the account is not subscribed, or suspended'),
  RequestAbortedException: away,
  RequestEntityTooLargeException: request,
  RequestExpired: clock,
  RequestTimeTooSkewed: clock,
  RequestTimeout: away,
  RequestTimeoutException: away,
  ServiceUnavailable: away,
  ServiceUnavailableException: away,
  SerializationException: request,
  SignatureDoesNotMatch: clock,
  UnknownOperationException: request,
  UnrecognizedClientException: rejected,
  UnsupportedOperationException: request,
  ValidationError: request,
  ValidationException: request,

  LimitExceededException: throttled,
  RequestLimitExceeded: throttled,
  RequestThrottled: throttled,
  RequestThrottledException: throttled,
  SlowDown: throttled,
  ThrottledException: throttled,
  Throttling: throttled,
  ThrottlingException: throttled,
  TooManyRequestsException: throttled,
};

const switchedOff = mean('key-disabled', 'the key is pending deletion, or its key material is missing or has expired');
// "… is pending deletion.", "… is pending replica deletion.", "… is pending import."
const SWITCHED_OFF = /pending (replica )?(deletion|import)/i;
const unreachable = mean('unavailable', 'no connection');
const late = mean('unavailable', 'no answer in time');
const aborted = mean('unavailable', 'given up');

/** Anything that the SDK throws for a call to KMS, as the one error of a backend. */
export function toKmsError(error: unknown, doing: string): BackendError {
  // Of a login on the way.
  if (isBackendError(error)) return error;
  const { code, reason } = meaningOf(error);
  return explained(error, { code, reason: `${doing}: ${reason}` });
}

/**
 * Anything that goes wrong while credentials are fetched. A login that is refused is `unauthenticated`, whatever the words: AccessDenied
 * of STS says that the credential is of no use, and nothing about the key.
 */
export function toLoginError(error: unknown, doing: string): BackendError {
  if (isBackendError(error)) return error;
  const { code, reason } = loginMeaningOf(error);
  return explained(error, { code, reason: `${doing}: ${reason}` });
}

function explained(error: unknown, { code, reason }: Meaning): BackendError {
  const retryAfterMs = code === 'throttled' || code === 'unavailable' ? retryAfterMsOf(error) : undefined;
  return new BackendError(code, reason, { cause: error, ...(retryAfterMs !== undefined && { retryAfterMs }) });
}

function meaningOf(error: unknown): Meaning {
  if (!(error instanceof Error)) return mean('internal', `the client threw a ${typeof error}`);
  const { name, message } = error;
  if (name === 'KMSInvalidStateException' && SWITCHED_OFF.test(message)) return switchedOff;
  const known = Object.hasOwn(MEANINGS, name) ? MEANINGS[name] : undefined;
  if (known !== undefined) return mean(known.code, `${known.reason} (${name})`);
  return transportMeaningOf(error) ?? unnamedMeaningOf(error);
}

function loginMeaningOf(error: unknown): Meaning {
  if (!(error instanceof Error)) return mean('unauthenticated', 'no credentials');
  const known = Object.hasOwn(MEANINGS, error.name) ? MEANINGS[error.name] : undefined;
  // IDPCommunicationError: STS could not reach the issuer of the token.
  if (known?.code === 'throttled' || known?.code === 'unavailable' || error.name.startsWith('IDPCommunicationError'))
    return mean(known?.code ?? 'unavailable', `${error.name} from STS`);
  const transport = transportMeaningOf(error);
  if (transport !== undefined) return transport;
  const status = statusOf(error);
  if (status !== undefined && status >= 500) return mean('unavailable', `status ${status}`);
  return mean('unauthenticated', `no credentials (${error.name})`);
}

/** Of errors that no service sent. */
function transportMeaningOf(error: Error): Meaning | undefined {
  if (error.name === 'AbortError') return aborted;
  if ('code' in error && typeof error.code === 'string' && 'syscall' in error)
    return mean('unavailable', `${unreachable.reason}: ${systemErrorText(error)} (${error.code})`);
  if (/^Timeout ?Error/i.test(error.name) || error.message.startsWith('TimeoutError')) return late;
  // TLS and HTTP: ERR_TLS_CERT_ALTNAME_INVALID, SELF_SIGNED_CERT_IN_CHAIN, HPE_INVALID_CONSTANT, ECONNRESET ("socket hang up").
  if ('code' in error && typeof error.code === 'string' && /^[A-Z0-9_]+$/.test(error.code))
    return mean('unavailable', `${unreachable.reason} (${error.code})`);
  return undefined;
}

/** Of an exception with a name that we do not know, or of a proxy's answer, which has none: never a refusal. */
function unnamedMeaningOf(error: Error): Meaning {
  const status = statusOf(error);
  if (status === 429) return throttled;
  if (status !== undefined && status >= 500) return mean('unavailable', `${away.reason} (status ${status})`);
  return mean(
    'internal',
    status === undefined ? `the client threw ${error.name}` : `unexpected answer (${error.name}, status ${status})`,
  );
}

function statusOf(error: Error): number | undefined {
  if ('statusCode' in error && typeof error.statusCode === 'number') return error.statusCode;
  if (!('$metadata' in error) || typeof error.$metadata !== 'object' || error.$metadata === null) return undefined;
  const { $metadata: metadata } = error;
  return 'httpStatusCode' in metadata && typeof metadata.httpStatusCode === 'number'
    ? metadata.httpStatusCode
    : undefined;
}

/** Retry-After in seconds, which KMS itself does not send, but a gateway before it may. */
function retryAfterMsOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('$response' in error)) return undefined;
  const response = error.$response;
  if (typeof response !== 'object' || response === null || !('headers' in response)) return undefined;
  const { headers } = response as { readonly headers?: Readonly<Record<string, string>> };
  const seconds = Number(headers?.['retry-after'] ?? Number.NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1_000 : undefined;
}
