import { once } from 'node:events';
import * as http from 'node:http';
import * as https from 'node:https';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';

/** What an HTTP relay does in the service's place. */
export type HttpFault =
  /** Every request gets this answer, and the service none of them. */
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly retryAfterSeconds?: number;
      /** JSON, unless `headers` say otherwise. */
      readonly body?: string;
      readonly headers?: Readonly<Record<string, string>>;
    }
  /** Every answer breaks off in the middle of its body. */
  | { readonly kind: 'cut' };

/** Requests that the relay keeps back for a while; all others pass. */
export interface Hold {
  /** Anywhere in the body. */
  readonly containing: string;
  readonly ms: number;
}

export interface HttpRelayOptions {
  /** For a service that speaks TLS: what the relay shows to clients, and the CA of the service itself. */
  readonly tls?: {
    readonly cert: string;
    readonly key: string;
    readonly upstreamCa: string;
    readonly serverName?: string;
  };
}

// They speak of one connection, not of the message (RFC 9110 §7.6.1).
const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'transfer-encoding']);

const KEEP_ALIVE_MS = 600_000;

/** Hands HTTP/1.1 requests on to a service on loopback; ends TLS, so that it can answer by itself. */
export class HttpRelay {
  fault: HttpFault | undefined;
  hold: Hold | undefined;
  readonly port: number;
  readonly #server: http.Server | https.Server;
  readonly #agent: http.Agent;
  #requests = 0;

  private constructor(server: http.Server | https.Server, port: number, agent: http.Agent) {
    this.#server = server;
    this.port = port;
    this.#agent = agent;
  }

  static async start(upstreamPort: number, { tls }: HttpRelayOptions): Promise<HttpRelay> {
    const server = tls ? https.createServer({ cert: tls.cert, key: tls.key }) : http.createServer();
    const agent = tls
      ? new https.Agent({ ca: tls.upstreamCa, servername: tls.serverName ?? 'localhost' })
      : new http.Agent();
    const send = tls ? https.request : http.request;
    // A connection that closes just when a client uses it again is a fault that nobody asked for; for the same reason each request has its own
    // connection to the service.
    server.keepAliveTimeout = KEEP_ALIVE_MS;
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('an HTTP server without a port');
    const relay = new HttpRelay(server, address.port, agent);
    server.on('request', (request: http.IncomingMessage, response: http.ServerResponse) => {
      relay
        .#relay(request, response, (options) => send({ ...options, host: '127.0.0.1', port: upstreamPort, agent }))
        .catch(() => {
          response.destroy();
        });
    });
    return relay;
  }

  /** Requests that arrived whole. */
  get requests(): number {
    return this.#requests;
  }

  async stop(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
    this.#agent.destroy();
  }

  async #relay(
    request: http.IncomingMessage,
    response: http.ServerResponse,
    send: (options: http.RequestOptions) => http.ClientRequest,
  ): Promise<void> {
    const asked = await buffer(request);
    this.#requests += 1;
    if (this.hold !== undefined && asked.includes(this.hold.containing)) await sleep(this.hold.ms);
    if (this.fault?.kind === 'answer') {
      const { status, retryAfterSeconds, body = '{}', headers } = this.fault;
      const after = retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) };
      response.writeHead(status, { 'content-type': 'application/json', ...after, ...headers }).end(body);
      return;
    }
    const outgoing = send({ method: request.method, path: request.url, headers: endToEnd(request.headers) });
    response.once('close', () => outgoing.destroy());
    const answered = once(outgoing, 'response');
    outgoing.end(asked);
    const [incoming] = (await answered) as [http.IncomingMessage];
    const answer = await buffer(incoming);
    const headers = {
      ...endToEnd(incoming.headers),
      ...(request.method !== 'HEAD' && { 'content-length': answer.length }),
    };
    response.writeHead(incoming.statusCode ?? 502, headers);
    if (this.fault?.kind !== 'cut') {
      response.end(answer);
      return;
    }
    response.write(answer.subarray(0, answer.length / 2), () => response.destroy());
  }
}

function endToEnd(headers: http.IncomingHttpHeaders): http.OutgoingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !HOP_BY_HOP.has(name)));
}
