/** A tiny key-management system that speaks HTTPS: the counterpart of the backend beside it, and a stand-in for yours. */
import { readFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Server, Socket } from 'node:net';
import { parseArgs } from 'node:util';
import { Access } from './access.js';
import { answerOperators } from './admin.js';
import { answerClients } from './api.js';
import { KeyStore } from './key-store.js';

const { values } = parseArgs({
  options: {
    /** File that keeps the keys. */
    state: { type: 'string', default: 'keys.json' },
    cert: { type: 'string', default: 'server.pem' },
    key: { type: 'string', default: 'server-key.pem' },
    port: { type: 'string', default: '8443' },
    'admin-port': { type: 'string', default: '8444' },
    'client-id': { type: 'string', default: 'sealwax' },
    'client-secret-file': { type: 'string', default: 'client-secret' },
    'token-seconds': { type: 'string', default: '300' },
  },
});

const keys = new KeyStore(values.state);
const access = new Access({
  clientId: values['client-id'],
  clientSecret: readFileSync(values['client-secret-file'], 'utf8').trim(),
  tokenSeconds: Number(values['token-seconds']),
});
const tls = { cert: readFileSync(values.cert), key: readFileSync(values.key) };
const clients = createHttpsServer(tls, answerClients(keys, access));
// Longer than the 30 s after which clients close idle connections: who closes first must not be the one who is about to be asked.
clients.keepAliveTimeout = 65_000;
const sockets = new Set<Socket>();
clients.on('connection', (socket: Socket) => {
  sockets.add(socket);
  socket.once('close', () => sockets.delete(socket));
  resetWhenDown();
});
const operators = createHttpServer(answerOperators(keys, access, { onTroubles: resetWhenDown }));

const ports = { port: await listen(clients, values.port), adminPort: await listen(operators, values['admin-port']) };
console.log(JSON.stringify(ports));
process.on('SIGTERM', () => process.exit(0));

function resetWhenDown(): void {
  if (access.troubles.down) for (const socket of sockets) socket.resetAndDestroy();
}

function listen(server: Server, port: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(Number(port), '127.0.0.1', () => {
      resolve((server.address() as AddressInfo).port);
    });
  });
}
