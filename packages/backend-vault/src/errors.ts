import { BackendError, type BackendErrorCode } from '@sealwax/core';
import type { VaultFailure } from './vault-failure.js';

interface Verdict {
  readonly code: BackendErrorCode;
  readonly reason: string;
}

/**
 * What transit says, and what it means. `docs/backends/vault.md` shows the same table; the texts are those of OpenBao 2.7 and of Vault 1.x
 * (builtin/logical/transit and sdk/helper/keysutil/policy.go in both).
 */
const TRANSIT_ROWS: readonly (Verdict & { readonly says: RegExp })[] = [
  { says: /encryption key not found/, code: 'key-not-found', reason: 'there is no such key' },
  // Answer to the parameter with which `wrap` keeps Vault from making a key that is missing.
  { says: /^convergent encryption requires derivation/, code: 'key-not-found', reason: 'there is no such key' },
  { says: /soft-deleted key/, code: 'key-disabled', reason: 'the key is soft-deleted' },
  { says: /version is too new/, code: 'key-not-found', reason: 'the key has no such version' },
  {
    says: /disallowed by policy \(too old\)/,
    code: 'key-not-found',
    reason: 'the version is below min_decryption_version, or trimmed',
  },
  { says: /^invalid ciphertext/, code: 'invalid-ciphertext', reason: 'the ciphertext is none of this key' },
  { says: /message authentication failed/, code: 'invalid-ciphertext', reason: 'the ciphertext does not fit the key' },
  // RSA keys; the status is 500.
  { says: /failed to RSA decrypt/, code: 'invalid-ciphertext', reason: 'the ciphertext does not fit the key' },
  {
    says: /missing 'context' for key derivation/,
    code: 'internal',
    reason: 'the key is derived, which Sealwax cannot use; make one without derived=true',
  },
  {
    says: /not supported for key type/,
    code: 'internal',
    reason: 'the type of the key cannot encrypt; make one of type aes256-gcm96',
  },
];

/** Texts of TLS alerts by which a server refuses the certificate that we showed, or that we showed none. */
const CERTIFICATE_REFUSED =
  /alert (bad certificate|certificate (required|expired|revoked|unknown)|unknown ca|unsupported certificate|access denied)/i;

/**
 * `failure` of an operation on the key, as the rest of the product knows it.
 *
 * @param doing - for instance `wrap with transit/kms`
 */
export function keyError(failure: VaultFailure, doing: string): BackendError {
  const { code, reason } = anyVerdict(failure) ?? keyVerdict(failure);
  return backendError(failure, code, `${doing}: ${reason}`);
}

/**
 * `failure` of a login. Whatever Vault refuses there is the credential's fault, also where it says 403.
 *
 * @param doing - for instance `log in at auth/approle`
 */
export function loginError(failure: VaultFailure, doing: string): BackendError {
  // All that Vault says to whoever is locked out, comes from an address that is not bound, or whose token a cluster does not confirm.
  const hint = failure.isForbidden
    ? ' (locked out after refused logins, bound to other addresses, or not confirmed)'
    : '';
  const { code, reason } = anyVerdict(failure) ?? { code: 'unauthenticated', reason: `${failure.message}${hint}` };
  return backendError(failure, code, `${doing}: ${reason}`);
}

/** What means the same whatever was asked for. */
function anyVerdict(failure: VaultFailure): Verdict | undefined {
  const { answer } = failure;
  if (answer === undefined) {
    const refused = CERTIFICATE_REFUSED.test(failure.message);
    return refused
      ? { code: 'unauthenticated', reason: `the server refuses our TLS certificate (${failure.message})` }
      : { code: 'unavailable', reason: failure.message };
  }
  if (answer.status === 429) return { code: 'throttled', reason: 'rate limit exceeded' };
  if (failure.says(/failed to RSA decrypt/)) return undefined;
  if (answer.status === 503)
    return { code: 'unavailable', reason: failure.says(/sealed/i) ? 'sealed' : failure.message };
  // 412: a replica that has not yet seen what we have (Vault Enterprise).
  if (answer.status >= 500 || answer.status === 412) return { code: 'unavailable', reason: failure.message };
  return undefined;
}

function keyVerdict(failure: VaultFailure): Verdict {
  const status = failure.answer?.status;
  if (status === 403) {
    return failure.isDeadToken
      ? { code: 'unauthenticated', reason: 'the token is not accepted, and a new login did not help' }
      : { code: 'permission-denied', reason: 'permission denied' };
  }
  if (status === 404) {
    const isMount = failure.says(/no handler for route/);
    const missing = isMount
      ? 'secrets engine at this mount'
      : failure.says(/namespace not found/)
        ? 'such namespace'
        : 'such key';
    return { code: 'key-not-found', reason: `there is no ${missing}` };
  }
  return TRANSIT_ROWS.find(({ says }) => failure.says(says)) ?? { code: 'internal', reason: failure.message };
}

function backendError(failure: VaultFailure, code: BackendErrorCode, text: string): BackendError {
  const retryAfterMs = failure.answer?.retryAfterMs;
  return new BackendError(code, `vault: ${text}`, {
    cause: failure,
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  });
}
