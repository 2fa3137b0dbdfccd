import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';

const CIPHER = 'aes-256-gcm';
const NONCE_LENGTH = 12;
const TAG_LENGTH = 16;

/** One question on a connection of its own, as JSON; bytes in base64. */
export interface Request {
  readonly token: string;
  readonly operation: 'current' | 'wrap' | 'unwrap';
  /** The version to use; `wrap` takes the current one without it. */
  readonly version?: string;
  readonly bytes?: string;
  /** Makes the key when it is missing, as some services offer. */
  readonly create?: boolean;
}
export type Refusal =
  'bad token' | 'busy' | 'denied' | 'disabled' | 'no such key' | 'no such version' | 'bad ciphertext';
export type Response =
  | { readonly version: string; readonly bytes: string }
  | { readonly refusal: Refusal; readonly retryAfterMs?: number }
  /** Not of this KMS, but of something on the way. */
  | { readonly status: number; readonly page: string };

type Mode = 'well' | 'stalled' | 'busy' | 'denied' | 'disabled';

/** A KMS with one key, on a unix socket: as much of one as the kit's faults need. */
export class LittleKms {
  readonly path: string;
  mode: Mode = 'well';
  /** The status with which something on the way answers in its place. */
  stranger: number | undefined;
  /** The tokens that it takes. */
  readonly tokens = new Set<string>();
  #versions = new Map<string, Buffer>();
  #deleted: Map<string, Buffer> | undefined;
  #made = 0;
  #server: Server | undefined;
  readonly #sockets = new Set<Socket>();

  constructor(path: string) {
    this.path = path;
    this.rotate();
  }

  async start(): Promise<void> {
    // Half open: the question ends with its half, the answer follows on the other.
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => this.#sockets.delete(socket));
      void this.#serve(socket).catch(() => socket.destroy());
    });
    await once(server.listen(this.path), 'listening');
    this.#server = server;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    server.close();
    this.#hangUp();
    await once(server, 'close');
    await rm(this.path, { force: true });
  }

  /** Ends every fault; rotated, replaced and destroyed versions and tokens that it does not take stay as they are. */
  async mend(): Promise<void> {
    if (this.mode === 'stalled') this.#hangUp();
    this.mode = 'well';
    this.stranger = undefined;
    if (this.#deleted !== undefined) this.#versions = this.#deleted;
    this.#deleted = undefined;
    if (this.#server === undefined) await this.start();
  }

  rotate(): void {
    this.#made += 1;
    this.#versions.set(`v${this.#made}`, randomBytes(32));
  }

  replaceKek(): void {
    for (const version of this.#versions.keys()) this.#versions.set(version, randomBytes(32));
  }

  destroyOldVersions(): void {
    this.#versions = new Map([...this.#versions].slice(-1));
  }

  deleteKey(): void {
    this.#deleted = this.#versions;
    this.#versions = new Map();
  }

  async #serve(socket: Socket): Promise<void> {
    // By events: an iterator would destroy the socket once it has read the question.
    let question = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => (question += chunk));
    await once(socket, 'end');
    const request = JSON.parse(question) as Request;
    if (this.mode !== 'stalled') socket.end(JSON.stringify(this.#answer(request)));
  }

  #answer({ token, operation, version: asked, bytes = '', create = false }: Request): Response {
    if (this.stranger !== undefined) return { status: this.stranger, page: '<h1>Not here</h1>' };
    if (this.mode === 'busy') return { refusal: 'busy', retryAfterMs: 1_500 };
    if (!this.tokens.has(token)) return { refusal: 'bad token' };
    if (this.#versions.size === 0 && create) this.rotate();
    if (this.#versions.size === 0) return { refusal: 'no such key' };
    if (this.mode === 'denied') return { refusal: 'denied' };
    const version = asked ?? [...this.#versions.keys()].at(-1)!;
    const kek = this.#versions.get(version);
    if (kek === undefined) return { refusal: 'no such version' };
    if (operation === 'current') return { version, bytes: '' };
    if (this.mode === 'disabled') return { refusal: 'disabled' };
    const input = Buffer.from(bytes, 'base64');
    const output = operation === 'wrap' ? encrypt(kek, version, input) : decrypt(kek, version, input);
    return output === undefined ? { refusal: 'bad ciphertext' } : { version, bytes: output.toString('base64') };
  }

  #hangUp(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

function encrypt(kek: Buffer, version: string, plaintext: Buffer): Buffer {
  const nonce = randomBytes(NONCE_LENGTH);
  const cipher = createCipheriv(CIPHER, kek, nonce, { authTagLength: TAG_LENGTH }).setAAD(Buffer.from(version));
  return Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

function decrypt(kek: Buffer, version: string, sealed: Buffer): Buffer | undefined {
  if (sealed.length < NONCE_LENGTH + TAG_LENGTH) return undefined;
  const decipher = createDecipheriv(CIPHER, kek, sealed.subarray(0, NONCE_LENGTH), { authTagLength: TAG_LENGTH });
  decipher.setAAD(Buffer.from(version)).setAuthTag(sealed.subarray(-TAG_LENGTH));
  try {
    return Buffer.concat([decipher.update(sealed.subarray(NONCE_LENGTH, -TAG_LENGTH)), decipher.final()]);
  } catch {
    return undefined;
  }
}
