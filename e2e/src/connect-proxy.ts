import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** An HTTP proxy on loopback that leads names of the internet to services here, and everything else nowhere. */
export class ConnectProxy {
  readonly port: number;
  /** Each `host:port` that a client asked for. */
  readonly asked: string[] = [];
  readonly #server: Server;
  readonly #open = new Set<Duplex>();

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
  }

  /** @param routes - the port of a service on 127.0.0.1, by `host:port` */
  static async start(routes: ReadonlyMap<string, number>): Promise<ConnectProxy> {
    const server = createServer((_request, response) => response.writeHead(405).end());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('an HTTP server without a port');
    const proxy = new ConnectProxy(server, address.port);
    server.on('connect', ({ url = '' }: { url?: string }, client: Socket) => {
      proxy.asked.push(url);
      proxy.#keep(client);
      const port = routes.get(url);
      if (port === undefined) {
        client.end('HTTP/1.1 502 Bad Gateway\r\n\r\n');
        return;
      }
      const upstream = connect(port, '127.0.0.1', () => {
        client.write('HTTP/1.1 200 Connection Established\r\n\r\n');
        client.pipe(upstream).pipe(client);
      });
      proxy.#keep(upstream);
    });
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async stop(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#open) socket.destroy();
    await closed;
  }

  #keep(socket: Duplex): void {
    this.#open.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => this.#open.delete(socket));
  }
}
