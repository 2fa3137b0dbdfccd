import { Agent } from 'node:http';
// Not the library of its own name: the client of Cloud KMS brings this copy, and two of them would be in memory.
import { googleAuthLibrary } from 'google-gax';
import type { Host } from '@sealwax/core';
import type { GcpConfig } from './config.js';
import { clientOf } from './credential-file.js';
import { loginError } from './errors.js';
import { MachineAccount } from './machine-account.js';

/** cloud.google.com/kms/docs/accessing-the-api: the narrowest scope that Cloud KMS takes. */
const SCOPE = 'https://www.googleapis.com/auth/cloudkms';
/** What the login needs to make tokens of another account: cloud.google.com/iam/docs/create-short-lived-credentials-direct. */
const IMPERSONATION_SCOPE = 'https://www.googleapis.com/auth/cloud-platform';
const LOGIN_MS = 10_000;
const LONGEST_MARGIN_MS = 300_000;
const REFRESH_PAUSE_MS = 30_000;

const { Impersonated } = googleAuthLibrary;
type AuthClient = googleAuthLibrary.AuthClient;

interface Held {
  /** The value of the header `authorization`. */
  readonly authorization: string;
  readonly expiresAtMs: number;
  readonly refreshAtMs: number;
}

/**
 * Logs in and keeps the token until shortly before it expires.
 *
 * Logging in apart from the calls keeps its failures apart from theirs. Files are read at each login, so a new one counts.
 */
export class Login {
  readonly #config: GcpConfig;
  readonly #host: Host;
  readonly #file: string | undefined;
  readonly #agents: (url: URL) => Agent;
  #held: Held | undefined;
  #loggingIn: Promise<Held> | undefined;

  private constructor(config: GcpConfig, host: Host, agents: (url: URL) => Agent) {
    this.#config = config;
    this.#host = host;
    this.#agents = agents;
    this.#file = credentialFile(config);
    // The old token stays until there is a new one: a file in the middle of its replacement must end nothing.
    if (this.#file !== undefined) {
      const refreshSoon = () => {
        if (this.#held !== undefined) this.#held = { ...this.#held, refreshAtMs: 0 };
      };
      host.secretFile(this.#file).onChange(refreshSoon, host.signal);
    }
  }

  /** @throws {BackendError} `unauthenticated` when the CA file cannot be used */
  static async create(config: GcpConfig, host: Host): Promise<Login> {
    const https = await host.httpsAgent({ caFile: config.caFile });
    const plain = new Agent();
    // The library would take the proxy from the environment for each, also for the addresses of the machine itself, which no proxy can reach.
    return new Login(config, host, ({ protocol }) => (protocol === 'https:' ? https : plain));
  }

  /**
   * The header that a call needs.
   *
   * @throws {BackendError}
   */
  async authorization(): Promise<string> {
    const held = this.#held;
    const now = Date.now();
    if (held === undefined || held.expiresAtMs <= now) return (await this.#logInOnce()).authorization;
    if (held.refreshAtMs <= now) {
      this.#held = { ...held, refreshAtMs: now + REFRESH_PAUSE_MS };
      // Its failure matters when the token in use has expired, and is then met again.
      this.#logInOnce().catch(() => undefined);
    }
    return held.authorization;
  }

  /** The service rejected the token: the next call logs in again. */
  forget(): void {
    this.#held = undefined;
  }

  async #logInOnce(): Promise<Held> {
    this.#loggingIn ??= this.#logIn()
      .then((held) => {
        this.#held = held;
        return held;
      })
      .finally(() => {
        this.#loggingIn = undefined;
      });
    return this.#loggingIn;
  }

  async #logIn(): Promise<Held> {
    try {
      const client = this.#impersonating(await this.#client());
      const authorization = (await inTime(client.getRequestHeaders())).get('authorization');
      if (authorization === null) throw new Error('the credential gave no token');
      const expiresAtMs = expiryOf(client, authorization);
      this.#host.report({ kind: 'credential-expiry', at: new Date(expiresAtMs) });
      const marginMs = Math.min(LONGEST_MARGIN_MS, (expiresAtMs - Date.now()) / 5);
      return { authorization, expiresAtMs, refreshAtMs: expiresAtMs - marginMs };
    } catch (error) {
      throw loginError(error);
    }
  }

  /** A client made of what the credential file holds now, or of the metadata server. */
  async #client(): Promise<AuthClient> {
    const { auth, universeDomain } = this.#config;
    const scopes = [auth.impersonate === undefined ? SCOPE : IMPERSONATION_SCOPE];
    const options = { universeDomain, transporterOptions: { agent: this.#agents, timeout: LOGIN_MS } };
    if (this.#file === undefined) {
      const serviceAccountEmail = auth.method === 'metadata-server' ? auth.serviceAccount : 'default';
      return new MachineAccount({ ...options, scopes, serviceAccountEmail });
    }
    const bytes = await this.#host.secretFile(this.#file).read();
    const credential: unknown = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8'));
    bytes.fill(0);
    return clientOf(credential, { ...options, scopes });
  }

  #impersonating(sourceClient: AuthClient): AuthClient {
    const { auth, universeDomain } = this.#config;
    if (auth.impersonate === undefined) return sourceClient;
    return new Impersonated({
      sourceClient,
      targetPrincipal: auth.impersonate,
      targetScopes: [SCOPE],
      universeDomain,
    });
  }
}

function credentialFile({ auth }: GcpConfig): string | undefined {
  switch (auth.method) {
    case 'credential-file':
      return auth.file;
    case 'application-default':
      return process.env['GOOGLE_APPLICATION_CREDENTIALS'];
    case 'metadata-server':
      return undefined;
  }
}

/** When the token ends: what the client was told, or what a token that it signed itself says. */
function expiryOf(client: AuthClient, authorization: string): number {
  const told = client.credentials.expiry_date;
  if (typeof told === 'number' && told > 1) return told;
  const claims: unknown = JSON.parse(Buffer.from(authorization.split('.')[1] ?? '', 'base64url').toString('utf8'));
  const exp: unknown = typeof claims === 'object' && claims !== null ? Reflect.get(claims, 'exp') : undefined;
  if (typeof exp !== 'number') throw new Error('the token does not say when it ends');
  return exp * 1_000;
}

/** The client repeats failed requests by itself; here it may do so for as long as a login may take. */
async function inTime<T>(answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  try {
    return await Promise.race([
      answer,
      new Promise<never>((_resolve, reject) => {
        timer = setTimeout(() => {
          reject(new DOMException('no answer in time', 'TimeoutError'));
        }, LOGIN_MS);
      }),
    ]);
  } finally {
    clearTimeout(timer);
  }
}
