import type { HttpClient } from '@azure/core-rest-pipeline';
import {
  ClientAssertionCredential,
  ClientCertificateCredential,
  ClientSecretCredential,
  ManagedIdentityCredential,
  type AccessToken,
  type GetTokenOptions,
  type TokenCredential,
} from '@azure/identity';
import type { BackendError, Host } from '@sealwax/core';
import { authorityOf } from './cloud.js';
import type { AzureConfig } from './config.js';
import { loginError, loginTrouble } from './errors.js';

const REQUEST_MS = 10_000;
const LONGEST_MARGIN_MS = 300_000;
const REFRESH_PAUSE_MS = 30_000;

/** One token and when to look for the next. */
interface Held {
  readonly token: AccessToken;
  readonly refreshAtMs: number;
}

/**
 * Logs in and keeps the token until shortly before it expires.
 *
 * The SDK caches too, but repeats a failed refresh with the signal of a call that is long over, and lets that failure go unhandled:
 * it is told that each token has expired and so asks here for every request. Files are read at each login, so a new one counts.
 */
export class Login implements TokenCredential {
  readonly #config: AzureConfig;
  readonly #http: HttpClient;
  readonly #host: Host;
  readonly #held = new Map<string, Held>();
  readonly #loggingIn = new Map<string, Promise<Held>>();

  constructor(config: AzureConfig, http: HttpClient, { host }: { readonly host: Host }) {
    this.#config = config;
    this.#http = http;
    this.#host = host;
    const file = secretPath(config);
    // The old token stays until there is a new one: a file in the middle of its replacement must end nothing.
    if (file !== undefined)
      host.secretFile(file).onChange(() => {
        this.#refreshSoon();
      }, host.signal);
  }

  async getToken(scopes: string | string[], { tenantId }: GetTokenOptions = {}): Promise<AccessToken> {
    const wanted = [scopes].flat();
    const name = [tenantId ?? '', ...wanted].join(' ');
    const now = Date.now();
    const held = this.#held.get(name);
    if (held === undefined || held.token.expiresOnTimestamp <= now) {
      return asked((await this.#logInOnce(name, wanted, tenantId)).token);
    }
    if (held.refreshAtMs <= now) {
      this.#held.set(name, { ...held, refreshAtMs: now + REFRESH_PAUSE_MS });
      // Its failure matters when the token in use has expired, and is then met again.
      this.#logInOnce(name, wanted, tenantId).catch(() => undefined);
    }
    return asked(held.token);
  }

  /** The vault rejected the token: the next call logs in again. */
  forget(): void {
    this.#held.clear();
  }

  #refreshSoon(): void {
    for (const [name, { token }] of this.#held) this.#held.set(name, { token, refreshAtMs: 0 });
  }

  async #logInOnce(name: string, scopes: string[], tenantId: string | undefined): Promise<Held> {
    let login = this.#loggingIn.get(name);
    if (login === undefined) {
      login = this.#logIn(scopes, tenantId)
        .then((held) => {
          this.#held.set(name, held);
          return held;
        })
        .finally(() => this.#loggingIn.delete(name));
      this.#loggingIn.set(name, login);
    }
    return login;
  }

  async #logIn(scopes: string[], tenantId: string | undefined): Promise<Held> {
    let trouble: BackendError | undefined;
    const httpClient: HttpClient = {
      sendRequest: async (request) => {
        request.timeout = REQUEST_MS;
        try {
          const response = await this.#http.sendRequest(request);
          trouble = loginTrouble({ status: response.status, body: response.bodyAsText });
          return response;
        } catch (error) {
          trouble = loginTrouble({ error });
          throw error;
        }
      },
    };
    try {
      const credential = await this.#credential(httpClient);
      const token = await credential.getToken(scopes, { enableCae: true, ...(tenantId !== undefined && { tenantId }) });
      if (token === null) throw new Error('the credential gave no token');
      this.#host.report({ kind: 'credential-expiry', at: new Date(token.expiresOnTimestamp) });
      const now = Date.now();
      const marginMs = Math.min(LONGEST_MARGIN_MS, (token.expiresOnTimestamp - now) / 5);
      return { token, refreshAtMs: token.refreshAfterTimestamp ?? token.expiresOnTimestamp - marginMs };
    } catch (error) {
      // The identity library turns an unreachable authority and a rejected secret into the same error.
      throw trouble ?? loginError(error);
    }
  }

  /** A credential made of what its file holds now. */
  async #credential(httpClient: HttpClient): Promise<TokenCredential> {
    const { auth } = this.#config;
    // Core repeats what failed.
    const options = { httpClient, retryOptions: { maxRetries: 0 } };
    if (auth.method === 'managed-identity') {
      const { clientId, resourceId, objectId } = auth;
      if (resourceId !== undefined) return new ManagedIdentityCredential({ ...options, resourceId });
      if (objectId !== undefined) return new ManagedIdentityCredential({ ...options, objectId });
      return new ManagedIdentityCredential({ ...options, ...(clientId !== undefined && { clientId }) });
    }
    const { tenantId, clientId } = auth;
    const authority = { ...options, ...authorityOf(this.#config) };
    switch (auth.method) {
      case 'client-secret':
        return new ClientSecretCredential(tenantId, clientId, await this.#read(auth.clientSecretFile), authority);
      case 'workload-identity': {
        const assertion = await this.#read(auth.tokenFile);
        return new ClientAssertionCredential(tenantId, clientId, () => Promise.resolve(assertion), authority);
      }
      case 'client-certificate': {
        const certificate = await this.#read(auth.certificateFile);
        const chain = { sendCertificateChain: auth.sendChain };
        return new ClientCertificateCredential(tenantId, clientId, { certificate }, { ...authority, ...chain });
      }
    }
  }

  async #read(file: string): Promise<string> {
    const bytes = await this.#host.secretFile(file).read();
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8').trim();
    bytes.fill(0);
    return text;
  }
}

function secretPath({ auth }: AzureConfig): string | undefined {
  switch (auth.method) {
    case 'managed-identity':
      return undefined;
    case 'workload-identity':
      return auth.tokenFile;
    case 'client-secret':
      return auth.clientSecretFile;
    case 'client-certificate':
      return auth.certificateFile;
  }
}

/** The token with an expiry that makes the SDK ask again at its next request. */
function asked({ token }: AccessToken): AccessToken {
  return { token, expiresOnTimestamp: 0, tokenType: 'Bearer' };
}
