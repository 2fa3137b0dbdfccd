import type { HttpAnswer, HttpRequest } from '../loopback-server.js';
import { unwrap, wrap, type KeyStore, type Quota, type StoredVersion } from './key-store.js';
import { verifyToken } from './token.js';
import { VaultError } from './vault-error.js';

/** Actions on data of Azure RBAC: learn.microsoft.com/azure/role-based-access-control/permissions/security, "Microsoft.KeyVault". */
export type KeyAction = 'keys/read' | 'keys/wrap/action' | 'keys/unwrap/action';

interface VaultOptions {
  readonly host: string;
  /** What its tokens are for; a suffix of the host. */
  readonly domain: string;
  readonly tenantId: string;
  readonly authorityOrigin: () => string;
  readonly store: KeyStore;
}

/** One vault (or Managed HSM) over REST: learn.microsoft.com/rest/api/keyvault/keys. */
export class VaultApi {
  readonly grants = new Map<string, Set<KeyAction>>();
  readonly #options: VaultOptions;
  readonly #revoked = new Set<string>();
  #recent: number[] = [];
  quota: Quota | undefined;
  /** Answers instead of everything else. */
  outage: HttpAnswer | undefined;
  /** Method and path of each request that carried a token. */
  readonly requests: string[] = [];

  constructor(options: VaultOptions) {
    this.#options = options;
  }

  /** No token that `application` holds now is good any more. */
  revokeTokens(application: string): void {
    this.#revoked.add(application);
  }

  acceptTokens(application: string): void {
    this.#revoked.delete(application);
  }

  readonly handle = (request: HttpRequest): HttpAnswer => {
    try {
      return this.#answer(request);
    } catch (error) {
      if (error instanceof VaultError) return error.answer;
      throw error;
    }
  };

  #answer(request: HttpRequest): HttpAnswer {
    if (this.outage !== undefined) return this.outage;
    const { host, store } = this.#options;
    if (request.headers.host?.split(':')[0]?.toLowerCase() !== host) {
      return { status: 421, json: { error: { code: 'Misdirected', message: 'no such vault here' } } };
    }
    const application = this.#authenticate(request);
    this.requests.push(`${request.method} ${request.url.pathname}`);
    this.#throttle();
    // learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses, "API version".
    if (request.url.searchParams.get('api-version') === null) throw new VaultError(400, 'BadParameter');
    const [, collection, name = '', version = '', operation] = request.url.pathname.split('/');
    if (collection !== 'keys' || name === '') throw new VaultError(404, 'NotFound');
    if (operation === undefined && request.method === 'GET') {
      this.#authorize(application, 'keys/read');
      return { status: 200, json: this.#bundle(name, store.find(name, version)) };
    }
    if (request.method !== 'POST') throw new VaultError(405, 'MethodNotAllowed');
    // The service takes the operation in any case; its pages write it in lower case.
    if (operation?.toLowerCase() === 'wrapkey') return this.#wrap(application, { name, version, body: request.body });
    if (operation?.toLowerCase() === 'unwrapkey')
      return this.#unwrap(application, { name, version, body: request.body });
    throw new VaultError(404, 'NotFound');
  }

  /** learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses, "Authentication". */
  #authenticate({ headers }: HttpRequest): string {
    const { domain, tenantId, authorityOrigin } = this.#options;
    const audience = `https://${domain}`;
    const challenge = `Bearer authorization="${authorityOrigin()}/${tenantId}", resource="${audience}"`;
    const token = /^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1];
    const claims = token === undefined ? undefined : verifyToken(token);
    const application = claims?.['appid'];
    if (claims?.['aud'] !== audience || typeof application !== 'string' || this.#revoked.has(application)) {
      throw new VaultError(401, 'Unauthorized', undefined, { 'www-authenticate': challenge });
    }
    return application;
  }

  /** learn.microsoft.com/azure/key-vault/general/rest-error-codes, "HTTP 403: Insufficient Permissions". */
  #authorize(application: string, action: KeyAction): void {
    if (this.grants.get(application)?.has(action) !== true) throw new VaultError(403, 'Forbidden', 'ForbiddenByRbac');
  }

  /** Same page, "HTTP 429: Too Many Requests". */
  #throttle(): void {
    if (this.quota === undefined) return;
    const { requests, windowMs } = this.quota;
    const now = Date.now();
    this.#recent = this.#recent.filter((at) => at > now - windowMs);
    if (this.#recent.length >= requests) {
      const seconds = Math.ceil(((this.#recent[0] ?? now) + windowMs - now) / 1_000);
      throw new VaultError(429, 'Throttled', undefined, { 'retry-after': String(seconds) });
    }
    this.#recent.push(now);
  }

  #wrap(application: string, { name, version, body }: Operation): HttpAnswer {
    this.#authorize(application, 'keys/wrap/action');
    const found = this.#options.store.find(name, version);
    checkUsable(found, { outsideValidity: false });
    const { alg, value } = parameters(body);
    return { status: 200, json: { kid: this.#kid(name, found), value: wrap(found, alg, value).toString('base64url') } };
  }

  #unwrap(application: string, { name, version, body }: Operation): HttpAnswer {
    this.#authorize(application, 'keys/unwrap/action');
    const found = this.#options.store.find(name, version);
    checkUsable(found, { outsideValidity: true });
    const { alg, value } = parameters(body);
    return {
      status: 200,
      json: { kid: this.#kid(name, found), value: unwrap(found, alg, value).toString('base64url') },
    };
  }

  /** learn.microsoft.com/rest/api/keyvault/keys/get-key, "KeyBundle". */
  #bundle(name: string, version: StoredVersion): unknown {
    const { material, type, enabled, notBefore, expires, created } = version;
    const numbers = material.kind === 'rsa' ? material.publicKey.export({ format: 'jwk' }) : {};
    return {
      key: {
        ...numbers,
        kid: this.#kid(name, version),
        kty: type,
        key_ops: ['wrapKey', 'unwrapKey', 'encrypt', 'decrypt'],
      },
      attributes: {
        enabled,
        ...(notBefore !== undefined && { nbf: notBefore }),
        ...(expires !== undefined && { exp: expires }),
        created,
        updated: created,
        recoveryLevel: 'Recoverable+Purgeable',
        recoverableDays: 90,
      },
    };
  }

  #kid(name: string, { id }: StoredVersion): string {
    return `https://${this.#options.host}/keys/${name}/${id}`;
  }
}

interface Operation {
  readonly name: string;
  readonly version: string;
  readonly body: Buffer;
}

/**
 * learn.microsoft.com/azure/key-vault/keys/about-keys-details, "Date-time controlled operations": keys outside their validity work for
 * decrypt, unwrap and verify; a disabled key works for nothing.
 */
function checkUsable(
  { enabled, notBefore, expires }: StoredVersion,
  { outsideValidity }: { readonly outsideValidity: boolean },
): void {
  if (!enabled) throw new VaultError(403, 'Forbidden', 'KeyDisabled');
  const now = Date.now() / 1_000;
  if (outsideValidity) return;
  if (notBefore !== undefined && now < notBefore) throw new VaultError(403, 'Forbidden', 'KeyNotYetValid');
  if (expires !== undefined && now >= expires) throw new VaultError(403, 'Forbidden', 'KeyExpired');
}

/** learn.microsoft.com/rest/api/keyvault/keys/wrap-key, "Request Body": `alg`, and `value` in base64url. */
function parameters(body: Buffer): { readonly alg: string; readonly value: Buffer } {
  let json: unknown;
  try {
    json = JSON.parse(body.toString('utf8'));
  } catch {
    throw new VaultError(400, 'BadParameter');
  }
  const { alg, value } = { alg: undefined, value: undefined, ...(typeof json === 'object' ? json : {}) };
  if (typeof alg !== 'string' || typeof value !== 'string') throw new VaultError(400, 'BadParameter');
  return { alg, value: Buffer.from(value, 'base64url') };
}
