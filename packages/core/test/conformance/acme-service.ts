import { execFileSync } from 'node:child_process';
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { json } from 'node:stream/consumers';

const NONCE_LENGTH = 12;
const TAG_LENGTH = 16;
const PAGE = '<html><h1>Request blocked</h1></html>';
const STATUS: Readonly<Record<string, number>> = { 'slow-down': 429, 'bad-token': 403, denied: 403, disabled: 409 };

interface Question {
  readonly version?: number;
  readonly plaintext?: string;
  readonly ciphertext?: string;
}

/** The KMS of docs/backends.md, which its harness starts as `./service.js`. */
export async function startService() {
  const directory = mkdtempSync(path.join(tmpdir(), 'acme-'));
  const file = (name: string) => path.join(directory, name);
  const certificate = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1'];
  const subject = ['-subj', '/CN=acme', '-addext', 'subjectAltName=IP:127.0.0.1'];
  execFileSync('openssl', [...certificate, ...subject, '-keyout', file('key'), '-out', file('cert')], {
    stdio: 'ignore',
  });
  const tokens: string[] = [];
  let goodToken: string | undefined;
  const newToken = () => {
    goodToken = randomBytes(16).toString('hex');
    tokens.push(goodToken);
    writeFileSync(file('token'), `${goodToken}\n`, { mode: 0o600 });
  };
  newToken();

  let versions = new Map([[1, randomBytes(32)]]);
  let mood = 'no more';
  let strangerStatus: number | undefined;
  const newest = () => Math.max(...versions.keys());

  const answer = (operation: string, given: string | undefined, question: Question): object => {
    if (['slow-down', 'no-such-key', 'denied'].includes(mood)) return { error: mood };
    if (goodToken === undefined || given !== `Bearer ${goodToken}`) return { error: 'bad-token' };
    if (operation === '') return { version: newest() };
    if (mood === 'disabled') return { error: mood };
    const version = question.version ?? newest();
    const kek = versions.get(version);
    if (kek === undefined) return { error: 'no-such-version' };
    if (operation === 'wrap') return { version, ciphertext: seal(kek, question.plaintext ?? '') };
    const plaintext = open(kek, question.ciphertext ?? '');
    return plaintext === undefined ? { error: 'bad-ciphertext' } : { plaintext };
  };

  const serve = async (request: IncomingMessage, response: ServerResponse) => {
    const [, , key, operation = ''] = (request.url ?? '').split('/');
    const question = request.method === 'POST' ? ((await json(request)) as Question) : {};
    if (mood === 'stall') return;
    if (strangerStatus !== undefined) {
      response.writeHead(strangerStatus, { 'content-type': 'text/html' }).end(PAGE);
      return;
    }
    const said = key === 'prod' ? answer(operation, request.headers.authorization, question) : { error: 'no-such-key' };
    const status = 'error' in said ? (STATUS[String(said.error)] ?? 404) : 200;
    response.writeHead(status, status === 429 ? { 'retry-after': '2' } : {}).end(JSON.stringify(said));
  };

  const sockets = new Set<Socket>();
  const server = createServer(
    { key: readFileSync(file('key')), cert: readFileSync(file('cert')) },
    (request, response) => {
      void serve(request, response).catch(() => response.destroy());
    },
  );
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  const listen = (port: number) => once(server.listen(port, '127.0.0.1'), 'listening');
  const hangUp = () => {
    for (const socket of sockets) socket.destroy();
  };
  const goAway = async () => {
    const closed = once(server.close(), 'close');
    hangUp();
    await closed;
  };
  await listen(0);
  const { port } = server.address() as AddressInfo;

  return {
    address: `https://127.0.0.1:${port}`,
    caFile: file('cert'),
    tokenFile: file('token'),
    /** All that ever were. */
    tokens,
    async rotate() {
      versions.set(newest() + 1, randomBytes(32));
    },
    async destroyOldVersions() {
      versions = new Map([...versions].slice(-1));
    },
    async misbehave(next: string) {
      mood = next;
      if (next === 'outage') await goAway();
    },
    async revokeToken() {
      goodToken = undefined;
    },
    /** As a firewall or a load balancer does: with 403, and with 404 when it is called again. */
    async answerInItsPlace() {
      strangerStatus = strangerStatus === 403 ? 404 : 403;
    },
    /** Ends all of these. A token that was revoked stays so: a new one is in the file. */
    async mend() {
      if (mood === 'outage') await listen(port);
      if (mood === 'stall') hangUp();
      mood = 'no more';
      strangerStatus = undefined;
      if (goodToken === undefined) newToken();
    },
    async stop() {
      await goAway();
      rmSync(directory, { recursive: true });
    },
  };
}

function seal(kek: Buffer, plaintext: string): string {
  const nonce = randomBytes(NONCE_LENGTH);
  const cipher = createCipheriv('aes-256-gcm', kek, nonce, { authTagLength: TAG_LENGTH });
  const sealed = [nonce, cipher.update(plaintext, 'base64'), cipher.final(), cipher.getAuthTag()];
  return Buffer.concat(sealed).toString('base64');
}

function open(kek: Buffer, ciphertext: string): string | undefined {
  const sealed = Buffer.from(ciphertext, 'base64');
  if (sealed.length < NONCE_LENGTH + TAG_LENGTH) return undefined;
  const nonce = sealed.subarray(0, NONCE_LENGTH);
  const decipher = createDecipheriv('aes-256-gcm', kek, nonce, { authTagLength: TAG_LENGTH });
  decipher.setAuthTag(sealed.subarray(-TAG_LENGTH));
  const plaintext = decipher.update(sealed.subarray(NONCE_LENGTH, -TAG_LENGTH));
  try {
    return Buffer.concat([plaintext, decipher.final()]).toString('base64');
  } catch {
    return undefined;
  }
}
