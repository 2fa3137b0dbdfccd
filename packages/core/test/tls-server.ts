import { once } from 'node:events';
import { request, createServer, type Server } from 'node:https';
import type { Agent } from 'node:http';
import { connect, createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net';
import type { PeerCertificate } from 'node:tls';
import { onTestFinished } from 'vitest';
import type { Certificate } from './certificates.js';

/** An HTTPS server on the loopback interface that answers each request with what it saw of the connection. */
export interface TlsServer {
  readonly port: number;
  readonly server: Server;
  /** Connections that were made so far, and those that are open. */
  readonly seen: { connections: number; open: Set<Socket> };
}

/** What the server saw. */
export interface Seen {
  readonly serverName: string | false;
  readonly clientName: string | undefined;
}

/** @param clientCa - asks each client for a certificate of this CA */
export async function startTlsServer({ cert, key }: Certificate, clientCa?: string): Promise<TlsServer> {
  const server = createServer(
    { cert, key, ...(clientCa !== undefined && { ca: clientCa, requestCert: true, rejectUnauthorized: true }) },
    (asked, response) => {
      // Node's types leave out `servername`, and that a certificate may be an empty object.
      const socket = asked.socket as unknown as {
        servername: string | false;
        getPeerCertificate(): Partial<PeerCertificate>;
      };
      response.end(
        JSON.stringify({ serverName: socket.servername, clientName: socket.getPeerCertificate().subject?.CN }),
      );
    },
  );
  const seen: TlsServer['seen'] = { connections: 0, open: new Set() };
  server.on('secureConnection', (socket) => {
    seen.connections += 1;
    seen.open.add(socket);
    socket.on('close', () => seen.open.delete(socket));
    socket.on('error', () => undefined);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return { port: (server.address() as AddressInfo).port, server, seen };
}

/** GET through `agent`; rejects as `node:https` does. */
export async function get(agent: Agent, port: number, host = '127.0.0.1'): Promise<Seen> {
  return new Promise((resolve, reject) => {
    const asking = request({ agent, host, port, path: '/' }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        const body = Buffer.concat(chunks).toString();
        if (response.statusCode === 200) resolve(JSON.parse(body) as Seen);
        else reject(new Error(`answered ${response.statusCode} ${body}`));
      });
    });
    asking.on('error', reject);
    asking.end();
  });
}

/** A proxy that knows CONNECT and nothing else. */
export interface ConnectProxy {
  readonly url: string;
  /** The first lines and headers of what it was asked for. */
  readonly asked: string[];
  readonly open: Set<Socket>;
}

/** @param status - the answer to CONNECT; where it is not 200 the proxy opens nothing */
export async function startConnectProxy(status = 200): Promise<ConnectProxy> {
  const asked: string[] = [];
  const open = new Set<Socket>();
  const server = createTcpServer((client) => {
    open.add(client);
    client.on('error', () => undefined);
    client.on('close', () => open.delete(client));
    client.once('data', (head: Buffer) => {
      asked.push(head.toString());
      const [, port] = /^CONNECT \S+:(\d+) HTTP/.exec(head.toString()) ?? [];
      if (status !== 200 || port === undefined) {
        client.end(`HTTP/1.1 ${port === undefined ? 405 : status} refused\r\n\r\n`);
        return;
      }
      const target = connect(Number(port), '127.0.0.1', () => client.write('HTTP/1.1 200 OK\r\n\r\n'));
      target.on('error', () => client.destroy());
      client.on('close', () => target.destroy());
      client.pipe(target).pipe(client);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    for (const client of open) client.destroy();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked, open };
}
