import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import { onTestFinished } from 'vitest';
import { CERTIFICATE } from './certificate.js';

export const TENANT = '11111111-1111-1111-1111-111111111111';
export const KEY_ID = `https://prod-kms.vault.azure.net/keys/kms/${'1'.repeat(32)}`;

/** What to answer: JSON with a status, or a page that neither Key Vault nor Entra has written. */
export type Answer =
  { readonly status?: number; readonly json: unknown } | { readonly status: number; readonly page: string };

/** A server on loopback that answers as an Entra authority does, and as one vault does to whoever has its token. */
export class AzureDouble {
  readonly port: number;
  /** Answers to requests for a token. */
  login: () => Answer = () => ({ json: { token_type: 'Bearer', expires_in: 3_600, access_token: 'a-token' } });
  /** Answers of the vault to requests with a token. */
  vault: (path: string) => Answer = good;

  private constructor(server: Server) {
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    this.port = address.port;
  }

  static async start(): Promise<AzureDouble> {
    const server = createServer(CERTIFICATE);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => {
      server.close();
      server.closeAllConnections();
    });
    const double = new AzureDouble(server);
    server.on('request', (request, response) => {
      double.#serve(request, response);
    });
    return double;
  }

  get authority(): string {
    return `https://localhost:${this.port}`;
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const { pathname } = new URL(request.url ?? '', this.authority);
    if (pathname.includes('/keys/') && request.headers.authorization === undefined) {
      const challenge = `Bearer authorization="${this.authority}/${TENANT}", resource="https://vault.azure.net"`;
      response.writeHead(401, { 'www-authenticate': challenge, 'content-type': 'application/json' });
      response.end(JSON.stringify({ error: { code: 'Unauthorized', message: 'no token' } }));
      return;
    }
    const answer = this.#answer(pathname);
    const isPage = 'page' in answer;
    response
      .writeHead(answer.status ?? 200, { 'content-type': isPage ? 'text/html' : 'application/json' })
      .end(isPage ? answer.page : JSON.stringify(answer.json));
  }

  #answer(path: string): Answer {
    if (path.endsWith('/oauth2/v2.0/token')) return this.login();
    if (!path.endsWith('/openid-configuration')) return this.vault(path);
    const base = `${this.authority}/${TENANT}`;
    return {
      json: {
        issuer: `${base}/v2.0`,
        authorization_endpoint: `${base}/oauth2/v2.0/authorize`,
        token_endpoint: `${base}/oauth2/v2.0/token`,
        jwks_uri: `${base}/discovery/v2.0/keys`,
      },
    };
  }
}

/** As Key Vault answers when all is well. Nothing here is encrypted. */
export function good(path: string): Answer {
  if (path.endsWith('wrapkey')) return { json: { kid: KEY_ID, value: Buffer.alloc(32, 7).toString('base64url') } };
  return { json: { key: { kid: KEY_ID, kty: 'RSA' }, attributes: { enabled: true } } };
}
