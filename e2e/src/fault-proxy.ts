import { once, setMaxListeners } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { HttpRelay, type Hold, type HttpFault, type HttpRelayOptions } from './http-relay.js';
import { waitFor } from './wait-for.js';

/** What happens to traffic from now on; connections that are open already are no exception. */
export type Fault =
  | { readonly kind: 'pass' }
  /** Each piece of data waits this long, in both directions. */
  | { readonly kind: 'delay'; readonly ms: number }
  /** Nobody listens: connections are refused, open ones end. */
  | { readonly kind: 'refuse' }
  /** Connections are accepted and reset at once. */
  | { readonly kind: 'reset' }
  /** Connections are accepted, and nothing is ever answered. What was held back arrives when the fault ends. */
  | { readonly kind: 'black-hole' }
  /** Half of the next data that the service sends, then the end of the connection; with `http`, half of a body. */
  | { readonly kind: 'cut' }
  | HttpFault;

interface FaultProxyOptions {
  /** The service, on 127.0.0.1. */
  readonly upstreamPort: number;
  /** Makes the proxy one for HTTP: it counts requests and can answer in the service's place. Without it, bytes pass untouched (TLS, HTTP/2). */
  readonly http?: HttpRelayOptions;
}

/** A proxy on loopback that stands before a service and breaks the way to it. */
export class FaultProxy {
  readonly port: number;
  readonly #server: Server;
  readonly #upstreamPort: number;
  readonly #relay: HttpRelay | undefined;
  readonly #sockets = new Set<Socket>();
  #fault: Fault = { kind: 'pass' };
  /** Aborts when `#fault` is another. */
  #change = new AbortController();
  #connections = 0;

  private constructor(server: Server, port: number, options: { upstreamPort: number; relay: HttpRelay | undefined }) {
    this.#server = server;
    this.port = port;
    this.#upstreamPort = options.upstreamPort;
    this.#relay = options.relay;
  }

  static async start({ upstreamPort, http }: FaultProxyOptions): Promise<FaultProxy> {
    const relay = http && (await HttpRelay.start(upstreamPort, http));
    const server = createServer({ allowHalfOpen: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('a TCP server without a port');
    const proxy = new FaultProxy(server, address.port, { upstreamPort: relay?.port ?? upstreamPort, relay });
    server.on('connection', (socket) => {
      void proxy.#serve(socket);
    });
    return proxy;
  }

  /** Connections accepted since the start. */
  get connections(): number {
    return this.#connections;
  }

  /** HTTP requests that arrived whole since the start. */
  get requests(): number {
    return this.#http.requests;
  }

  /** Keeps some requests back; `undefined` ends that. */
  hold(hold: Hold | undefined): void {
    this.#http.hold = hold;
  }

  get #http(): HttpRelay {
    if (this.#relay === undefined) throw new Error('a proxy without `http` sees no requests');
    return this.#relay;
  }

  /** Resolves when `fault` is in force. */
  async set(fault: Fault): Promise<void> {
    if (this.#relay !== undefined)
      this.#relay.fault = fault.kind === 'answer' || fault.kind === 'cut' ? fault : undefined;
    else if (fault.kind === 'answer') throw new Error('a proxy without `http` cannot answer');
    this.#fault = fault;
    this.#change.abort();
    this.#change = new AbortController();
    // Each connection waits for it.
    setMaxListeners(0, this.#change.signal);
    if (fault.kind === 'reset') for (const socket of this.#sockets) socket.resetAndDestroy();
    if (fault.kind === 'refuse') await this.#close();
    else await this.#listen();
  }

  async stop(): Promise<void> {
    this.#change.abort();
    await this.#close();
    await this.#relay?.stop();
  }

  async #serve(client: Socket): Promise<void> {
    this.#connections += 1;
    this.#keep(client);
    if (this.#fault.kind === 'reset') {
      client.resetAndDestroy();
      return;
    }
    const upstream = connect({ port: this.#upstreamPort, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    client.setNoDelay(true);
    this.#keep(upstream);
    const ends = await Promise.allSettled([
      pipeline(client, (data: AsyncIterable<Buffer>) => this.#requests(data), upstream),
      pipeline(upstream, (data: AsyncIterable<Buffer>) => this.#answers(data), client),
    ]);
    // Whatever went wrong on one side must be seen on the other.
    if (ends.some(({ status }) => status === 'rejected')) for (const socket of [client, upstream]) socket.destroy();
  }

  async *#requests(data: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
    for await (const piece of data) {
      await this.#gate();
      yield piece;
    }
  }

  async *#answers(data: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
    for await (const piece of data) {
      await this.#gate();
      if (this.#fault.kind === 'cut' && this.#relay === undefined) {
        yield piece.subarray(0, piece.length / 2);
        throw new Error('cut');
      }
      yield piece;
    }
  }

  async #gate(): Promise<void> {
    const { signal } = this.#change;
    if (this.#fault.kind === 'delay') await sleep(this.#fault.ms, undefined, { signal }).catch(() => undefined);
    else if (this.#fault.kind === 'black-hole' && !signal.aborted) await once(signal, 'abort');
    // Two faults in a row are two faults.
    if (signal.aborted && signal !== this.#change.signal) await this.#gate();
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => this.#sockets.delete(socket));
  }

  async #close(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async #listen(): Promise<void> {
    if (this.#server.listening) return;
    // While nobody listened the port was anybody's, if for a moment.
    await waitFor(
      async () => {
        this.#server.listen(this.port, '127.0.0.1');
        await once(this.#server, 'listening');
        return true;
      },
      { what: `port ${this.port} to be free again`, timeoutMs: 30_000 },
    );
  }
}
