import { BackendError, isBackendError, type Host } from '@sealwax/core';
import type { AuthConfig, SpiffeConfig } from './config.js';
import { loginError } from './errors.js';
import { RefusedSecret } from './refused-secret.js';
import { tokenOfLogin, tokenOfLookup, type Token } from './token.js';
import type { VaultClient } from './vault-client.js';
import { VaultFailure } from './vault-failure.js';

/** One way to a token. */
export interface Login {
  /** For messages: `auth/approle`, or the token's file. */
  readonly at: string;
  readonly namespace: string | undefined;
  /** Whether each login makes a new token; a token from a file is the same until somebody writes another one. */
  readonly makesTokens: boolean;
  /**
   * Reads the secrets anew and logs in.
   *
   * @throws {BackendError}
   */
  logIn(signal: AbortSignal): Promise<Token>;
}

interface LoginOptions {
  readonly auth: AuthConfig;
  /** Of the key, where the auth method names none. */
  readonly namespace: string | undefined;
  readonly client: VaultClient;
  readonly host: Host;
}

type Body = Readonly<Record<string, string>>;

export function login(options: LoginOptions): Login {
  const { auth, client, host } = options;
  const namespace = auth.namespace === 'root' ? undefined : (auth.namespace ?? options.namespace);
  if (auth.method === 'token') return tokenLogin({ file: auth.tokenFile, namespace, client, host });
  const at = `auth/${auth.mount}`;
  const refused = new RefusedSecret();
  const path = auth.method === 'userpass' ? `${at}/login/${auth.username}` : `${at}/login`;
  return {
    at,
    namespace,
    makesTokens: true,
    async logIn(signal) {
      const doing = `log in at ${at}`;
      const body = await loginBody(auth, { host, doing }, signal);
      const canBeLockedOut = auth.method === 'approle' || auth.method === 'userpass';
      if (canBeLockedOut) refused.throwAgain(body);
      const answer = await attempt(doing, client.write(path, { body, namespace, token: undefined }, signal)).catch(
        (error: unknown) => {
          if (canBeLockedOut && isBackendError(error) && error.code === 'unauthenticated') refused.note(body, error);
          throw error;
        },
      );
      refused.forget();
      const token = tokenOfLogin(answer);
      if (token === undefined) {
        const reason = 'Vault gave no token; a second factor (MFA) cannot be given here';
        throw new BackendError('unauthenticated', `vault: ${doing}: ${reason}`);
      }
      return token;
    },
  };
}

/** Of one login. */
interface LoginContext {
  readonly host: Host;
  readonly doing: string;
}

/** What proves who we are, read anew. */
async function loginBody(
  auth: Exclude<AuthConfig, { method: 'token' }>,
  context: LoginContext,
  signal: AbortSignal,
): Promise<Body> {
  const { host } = context;
  switch (auth.method) {
    case 'approle': {
      const { roleId, secretIdFile } = auth;
      return {
        role_id: roleId,
        ...(secretIdFile !== undefined && { secret_id: await secretText(host, secretIdFile) }),
      };
    }
    case 'jwt':
      return { role: auth.role, jwt: await freshJwt(auth.jwtFrom, context, signal) };
    case 'kubernetes':
      return { role: auth.role, jwt: await secretText(host, auth.tokenFile) };
    case 'cert':
      return auth.name === undefined ? {} : { name: auth.name };
    case 'userpass':
      return { password: await secretText(host, auth.passwordFile) };
  }
}

/** @param from - a file, or the Workload API */
async function freshJwt(
  from: string | SpiffeConfig,
  { host, doing }: LoginContext,
  signal: AbortSignal,
): Promise<string> {
  if (typeof from === 'string') return secretText(host, from);
  // gRPC is much to load for those who do not use it.
  const { fetchJwtSvid } = await import('./workload-api.js');
  return fetchJwtSvid(from, doing, signal);
}

function tokenLogin({ file, namespace, client, host }: Omit<LoginOptions, 'auth'> & { readonly file: string }): Login {
  return {
    at: file,
    namespace,
    makesTokens: false,
    async logIn(signal) {
      const value = await secretText(host, file);
      const doing = `log in with the token in ${file}`;
      // Node would refuse it with an error that quotes it.
      if (!/^[\x21-\x7e]+$/.test(value)) {
        throw new BackendError('unauthenticated', `vault: ${doing}: the file holds no token`);
      }
      try {
        const answer = await client.read('auth/token/lookup-self', { namespace, token: value }, signal);
        const token = tokenOfLookup(value, answer);
        if (token !== undefined) return token;
      } catch (error) {
        if (!(error instanceof VaultFailure)) throw error;
        if (error.isDeadToken) {
          const reason = 'the token is expired, revoked, used up or unknown';
          throw new BackendError('unauthenticated', `vault: ${doing}: ${reason}`, { cause: error });
        }
        if (!error.isForbidden) throw loginError(error, doing);
      }
      host.report({
        kind: 'advice',
        text: 'The Vault token may not look itself up, so nobody knows when it expires and it is not renewed: give it the policy "default".',
      });
      return { value, ttlMs: undefined, renewable: false, uses: undefined };
    },
  };
}

async function secretText(host: Host, path: string): Promise<string> {
  const bytes = await host.secretFile(path).read();
  // Editors end a file with a newline, which is no part of the secret.
  const text = Buffer.from(bytes)
    .toString()
    .replace(/\r?\n$/, '');
  bytes.fill(0);
  return text;
}

async function attempt<T>(doing: string, request: Promise<T>): Promise<T> {
  try {
    return await request;
  } catch (error) {
    throw error instanceof VaultFailure ? loginError(error, doing) : error;
  }
}
