import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { connect, type Socket } from 'node:net';

/** A proxy of a company's network: takes CONNECT only, and knows names that no DNS does. */
export class ConnectProxy {
  /** `HOST:PORT` of each tunnel asked for, oldest first. */
  readonly asked: string[] = [];
  readonly url: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.url = `http://127.0.0.1:${port}`;
  }

  /** Every tunnel ends on loopback, whatever its host; the port is kept. */
  static async start(): Promise<ConnectProxy> {
    const server = createServer((_request, response) => response.writeHead(405).end());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('an HTTP server without a port');
    const proxy = new ConnectProxy(server, address.port);
    server.on('connect', (request, client: Socket, head: Buffer) => {
      const target = request.url ?? '';
      proxy.asked.push(target);
      const upstream = connect(Number(target.split(':').at(-1)), '127.0.0.1');
      for (const socket of [client, upstream]) {
        proxy.#sockets.add(socket);
        socket.on('error', () => socket.destroy());
        socket.once('close', () => {
          proxy.#sockets.delete(socket);
          (socket === client ? upstream : client).destroy();
        });
      }
      upstream.once('connect', () => {
        client.write('HTTP/1.1 200 Connection established\r\n\r\n');
        upstream.write(head);
        client.pipe(upstream).pipe(client);
      });
    });
    return proxy;
  }

  async stop(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}
