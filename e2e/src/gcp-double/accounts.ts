import { createVerify, randomBytes, type KeyObject } from 'node:crypto';
import type { HttpAnswer, HttpRequest } from '../loopback-server.js';

interface IssuedToken {
  readonly account: string;
  readonly expiresAtMs: number;
}

export interface ServiceAccount {
  readonly email: string;
  /** Public keys by key id: a service account may have ten. */
  readonly keys: Map<string, KeyObject>;
  /** Accounts that may make tokens for this one. */
  readonly impersonators: Set<string>;
}

/** A subject token of an identity provider that the pool trusts, and the account that it stands for. */
export interface FederatedIdentity {
  readonly subjectToken: string;
  readonly account: string;
}

const CLOUD_KMS = 'https://www.googleapis.com/auth/cloudkms';
const CLOUD_PLATFORM = 'https://www.googleapis.com/auth/cloud-platform';

/** Who may call, and the endpoints that give out tokens. */
export class Accounts {
  readonly serviceAccounts = new Map<string, ServiceAccount>();
  readonly federated: FederatedIdentity[] = [];
  /** The account that the machine of the metadata server runs as. */
  machineAccount: string | undefined;
  tokenSeconds = 3_600;
  logins = 0;
  metadataRequests = 0;
  /** Answers of the token endpoints instead of everything else. */
  outage: HttpAnswer | undefined;
  readonly #tokens = new Map<string, IssuedToken>();
  /** Accounts whose tokens, issued or signed, are refused. */
  readonly #blocked = new Set<string>();

  /** Nothing that `account` holds or signs is good any more. */
  block(account: string): void {
    this.#blocked.add(account);
  }

  unblock(account: string): void {
    this.#blocked.delete(account);
  }

  /** The account that a bearer token stands for; `undefined` when it is good for nothing. */
  accountOf(token: string): string | undefined {
    const issued = this.#tokens.get(token);
    const account =
      issued === undefined ? this.#signerOf(token) : issued.expiresAtMs > Date.now() ? issued.account : undefined;
    return account === undefined || this.#blocked.has(account) ? undefined : account;
  }

  /** Ends every token that was issued, as time would. */
  expireTokens(): void {
    this.#tokens.clear();
  }

  /**
   * Exchange of a foreign token: cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token; impersonation:
   * cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken.
   */
  readonly handleTokens = (request: HttpRequest): HttpAnswer => {
    if (this.outage !== undefined) return this.outage;
    this.logins += 1;
    const { pathname } = request.url;
    if (pathname === '/token') return this.#assert(new URLSearchParams(request.body.toString('utf8')));
    if (pathname === '/v1/token') return this.#exchange(new URLSearchParams(request.body.toString('utf8')));
    const target = /^\/v1\/projects\/-\/serviceAccounts\/([^/:]+):generateAccessToken$/.exec(pathname)?.[1];
    if (target !== undefined) return this.#impersonate(decodeURIComponent(target), request);
    return { status: 404, json: { error: { code: 404, status: 'NOT_FOUND' } } };
  };

  /** cloud.google.com/compute/docs/access/authenticate-workloads, "Obtaining an access token"; the header is compulsory. */
  readonly handleMetadata = ({ url, headers }: HttpRequest): HttpAnswer => {
    this.metadataRequests += 1;
    if (headers['metadata-flavor'] !== 'Google') return { status: 403, json: { error: 'missing header' } };
    const flavor = { 'metadata-flavor': 'Google' };
    const { machineAccount } = this;
    const named = /^\/computeMetadata\/v1\/instance\/service-accounts\/([^/]+)\/token$/.exec(url.pathname)?.[1];
    if (machineAccount === undefined || (named !== 'default' && named !== machineAccount)) {
      return { status: 404, headers: flavor, json: { error: 'not found' } };
    }
    return { status: 200, headers: flavor, json: this.#issue(machineAccount) };
  };

  #exchange(form: URLSearchParams): HttpAnswer {
    const identity = this.federated.find(({ subjectToken }) => subjectToken === form.get('subject_token'));
    if (form.get('grant_type') !== 'urn:ietf:params:oauth:grant-type:token-exchange' || identity === undefined) {
      return { status: 400, json: { error: 'invalid_grant', error_description: 'The given credential is rejected.' } };
    }
    const issuedType = 'urn:ietf:params:oauth:token-type:access_token';
    return { status: 200, json: { ...this.#issue(identity.account), issued_token_type: issuedType } };
  }

  /** developers.google.com/identity/protocols/oauth2/service-account, "Making the access token request". */
  #assert(form: URLSearchParams): HttpAnswer {
    const account = this.#signerOf(form.get('assertion') ?? '', 'https://oauth2.googleapis.com/token');
    if (form.get('grant_type') !== 'urn:ietf:params:oauth:grant-type:jwt-bearer' || account === undefined) {
      return { status: 400, json: { error: 'invalid_grant', error_description: 'Invalid JWT Signature.' } };
    }
    return { status: 200, json: this.#issue(account) };
  }

  #impersonate(email: string, { headers }: HttpRequest): HttpAnswer {
    const caller = this.accountOf(/^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1] ?? '');
    if (caller === undefined) return { status: 401, json: { error: { code: 401, status: 'UNAUTHENTICATED' } } };
    if (this.serviceAccounts.get(email)?.impersonators.has(caller) !== true) {
      return { status: 403, json: { error: { code: 403, status: 'PERMISSION_DENIED' } } };
    }
    const { access_token: accessToken, expires_in: seconds } = this.#issue(email);
    return { status: 200, json: { accessToken, expireTime: new Date(Date.now() + seconds * 1_000).toISOString() } };
  }

  #issue(account: string) {
    const token = `ya29.${randomBytes(24).toString('base64url')}`;
    this.#tokens.set(token, { account, expiresAtMs: Date.now() + this.tokenSeconds * 1_000 });
    return { access_token: token, expires_in: this.tokenSeconds, token_type: 'Bearer' };
  }

  /** A token that a service account signed itself: google.aip.dev/auth/4111. */
  #signerOf(token: string, audience = 'https://cloudkms.googleapis.com/'): string | undefined {
    const [head = '', claims = '', signature = ''] = token.split('.');
    const { kid, alg } = parsed(head);
    const { iss, exp, iat, scope, aud } = parsed(claims);
    const account = typeof iss === 'string' ? this.serviceAccounts.get(iss) : undefined;
    if (account === undefined || alg !== 'RS256') return undefined;
    // Without a key id any key of the account may have signed.
    const candidates = [...account.keys].filter(([id]) => kid === undefined || kid === id).map(([, key]) => key);
    const isGood = (key: KeyObject): boolean =>
      createVerify('sha256').update(`${head}.${claims}`).verify(key, signature, 'base64url');
    if (!candidates.some(isGood)) return undefined;
    const now = Date.now() / 1_000;
    const scopes = typeof scope === 'string' ? scope.split(' ') : [];
    const forUs = scopes.includes(CLOUD_KMS) || scopes.includes(CLOUD_PLATFORM) || aud === audience;
    if (typeof exp !== 'number' || typeof iat !== 'number' || exp <= now || iat > now + 60 || exp - iat > 3_600)
      return undefined;
    return forUs ? account.email : undefined;
  }
}

function parsed(part: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}
