import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { buffer } from 'node:stream/consumers';
import type { IssuedCertificate } from './test-certificates.js';

export interface HttpRequest {
  readonly method: string;
  /** Of no meaning beyond path and query. */
  readonly url: URL;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON; nothing when absent. */
  readonly json?: unknown;
}

export type HttpHandler = (request: HttpRequest) => HttpAnswer;

/** An HTTP server on a free port of loopback; over TLS when it is given a certificate. */
export class LoopbackServer {
  readonly port: number;
  readonly #server: Server;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
  }

  static async start(handler: HttpHandler, certificate?: IssuedCertificate): Promise<LoopbackServer> {
    const listener = (request: IncomingMessage, response: ServerResponse): void => {
      // A client that goes away in the middle of its request is no fault of the service.
      answer(request, response, handler).catch(() => response.destroy());
    };
    const server = certificate === undefined ? createServer(listener) : createTlsServer({ ...certificate }, listener);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('an HTTP server without a port');
    return new LoopbackServer(server, address.port);
  }

  async stop(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }
}

async function answer(request: IncomingMessage, response: ServerResponse, handler: HttpHandler): Promise<void> {
  const body = await buffer(request);
  const url = new URL(request.url ?? '/', 'http://loopback');
  const { status, headers, json } = handler({ method: request.method ?? 'GET', url, headers: request.headers, body });
  const text = json === undefined ? '' : JSON.stringify(json);
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', ...headers }).end(text);
}
