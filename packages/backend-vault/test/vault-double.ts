import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { onTestFinished } from 'vitest';

/** What to answer: JSON with a status, or a page that no Vault has written. */
export type Answer =
  { readonly status?: number; readonly json: unknown } | { readonly status: number; readonly page: string };

/** A server on loopback that answers as Vault does to a login by AppRole and to transit. */
export class VaultDouble {
  readonly url: string;
  /** Paths, as they were asked for. */
  readonly asked: string[] = [];
  #answer: (path: string) => Answer = good;

  private constructor(server: Server) {
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    this.url = `http://127.0.0.1:${address.port}`;
  }

  static async start(): Promise<VaultDouble> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => {
      server.close();
      server.closeAllConnections();
    });
    const double = new VaultDouble(server);
    server.on('request', (request, response) => {
      double.#serve(request, response);
    });
    return double;
  }

  answerWith(answer: (path: string) => Answer): void {
    this.#answer = answer;
    this.asked.length = 0;
  }

  #serve({ url: path = '' }: IncomingMessage, response: ServerResponse): void {
    this.asked.push(path);
    const answer = this.#answer(path);
    const isPage = 'page' in answer;
    response
      .writeHead(answer.status ?? 200, { 'content-type': isPage ? 'text/html' : 'application/json' })
      .end(isPage ? answer.page : JSON.stringify(answer.json));
  }
}

/** As Vault answers when all is well. Nothing here is encrypted. */
export function good(path: string): Answer {
  if (path.endsWith('/login')) {
    return { json: { auth: { client_token: 'hvs.x', lease_duration: 3_600, renewable: true, num_uses: 0 } } };
  }
  const text = Buffer.alloc(32, 7).toString('base64');
  return { json: { data: path.includes('/encrypt/') ? { ciphertext: `vault:v1:${text}` } : { plaintext: text } } };
}

/** `errors` of Vault's own answers: the list in which a living token without a right reads its refusal, and that of a missing key. */
export const DENIED = ['1 error occurred:\n\t* permission denied\n\n'];
export const MISSING: readonly string[] = [];
