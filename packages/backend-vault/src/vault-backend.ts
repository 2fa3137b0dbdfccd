import { BackendError, isBackendError, type Backend, type WrappedKey } from '@sealwax/core';
import { z } from 'zod';
import type { VaultConfig } from './config.js';
import { keyError } from './errors.js';
import { KekIds } from './kek-id.js';
import type { Session } from './session.js';
import { transitKey, type TransitKey } from './transit-key.js';
import type { VaultClient } from './vault-client.js';
import { VaultFailure } from './vault-failure.js';

const encryptAnswer = z.object({ data: z.object({ ciphertext: z.string() }) });
const decryptAnswer = z.object({ data: z.object({ plaintext: z.base64() }) });
const CIPHERTEXT = /^vault:v([1-9]\d{0,8}):([A-Za-z0-9+/]+={0,2})$/;
/** Encrypted and thrown away where the current version has to be asked for with nothing but the right to encrypt. */
const NOTHING = Buffer.alloc(32).toString('base64');
/** Too short for any key, so that it is refused before anything is decrypted, and after the key was looked for. */
const TOO_SHORT = 'vault:v1:AAAA';

interface VaultBackendOptions {
  readonly config: VaultConfig;
  readonly client: VaultClient;
  readonly session: Session;
  /** Ends what `open` made for this backend. */
  readonly end: () => void;
}

/**
 * Wraps with a transit key.
 *
 * A wrapped key is the ciphertext of transit without its `vault:v<version>:` and without base64: the KEK id says the version, and what rides on
 * every object stays short.
 */
export class VaultBackend implements Backend {
  readonly #namespace: string | undefined;
  readonly #mount: string;
  readonly #key: string;
  readonly #withCreationTime: boolean;
  readonly #kekIds: KekIds;
  readonly #client: VaultClient;
  readonly #session: Session;
  readonly #end: () => void;
  #closed = false;

  constructor({ config, client, session, end }: VaultBackendOptions) {
    this.#namespace = config.namespace;
    this.#mount = config.mount;
    this.#key = config.key;
    this.#withCreationTime = config.kekId === 'version-and-creation-time';
    this.#kekIds = new KekIds(config);
    this.#client = client;
    this.#session = session;
    this.#end = end;
  }

  async currentKekId(signal: AbortSignal): Promise<string> {
    const doing = `read the current version of ${this.#name}`;
    if (!this.#withCreationTime) {
      const { version } = await this.#encrypt(NOTHING, { doing }, signal);
      return this.#kekIds.format({ version, createdAt: undefined });
    }
    const key = await this.#read(doing, signal);
    return this.#kekId(key.latestVersion, key, doing);
  }

  async wrap(plaintext: Uint8Array, signal: AbortSignal): Promise<WrappedKey> {
    const doing = `wrap with ${this.#name}`;
    const base64 = Buffer.from(plaintext.buffer, plaintext.byteOffset, plaintext.byteLength).toString('base64');
    const { version, ciphertext } = await this.#encrypt(base64, { doing }, signal);
    // After the encryption: what another key than the described one wrapped does not open, and core opens all that it wraps.
    const key = this.#withCreationTime ? await this.#read(doing, signal) : undefined;
    return { kekId: this.#kekId(version, key, doing), ciphertext };
  }

  async unwrap({ kekId, ciphertext }: WrappedKey, signal: AbortSignal): Promise<Uint8Array> {
    const doing = `unwrap with ${this.#name}`;
    this.#throwIfClosed(doing);
    const named = this.#kekIds.parse(kekId);
    if (named === undefined) {
      throw new BackendError('invalid-ciphertext', `vault: ${doing}: the KEK id is none of this key`);
    }
    const text = `vault:v${named.version}:${Buffer.from(ciphertext).toString('base64')}`;
    try {
      const answer = decryptAnswer.safeParse(
        await this.#write('decrypt', { doing, body: { ciphertext: text } }, signal),
      );
      if (!answer.success) throw new BackendError('internal', `vault: ${doing}: the answer holds no plaintext`);
      return Uint8Array.from(Buffer.from(answer.data.data.plaintext, 'base64'));
    } catch (error) {
      if (!isBackendError(error) || error.code !== 'invalid-ciphertext' || named.createdAt === undefined) throw error;
      throw (await this.#isReplaced(named.version, named.createdAt, signal))
        ? new BackendError('key-not-found', `vault: ${doing}: another key stands beneath this name now`, {
            cause: error,
          })
        : error;
    }
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#session.close();
    this.#end();
    return Promise.resolve();
  }

  get #name(): string {
    return `${this.#mount}/${this.#key}`;
  }

  async #encrypt(
    plaintext: string,
    { doing }: { readonly doing: string },
    signal: AbortSignal,
  ): Promise<{ version: number; ciphertext: Uint8Array }> {
    // Without this, a token that may create keys makes a missing one by encrypting with it. A key that is there ignores it; for one that is not,
    // convergent encryption without a context is an error, whatever the token may do.
    const body = { plaintext, convergent_encryption: true };
    let written: unknown;
    try {
      written = await this.#write('encrypt', { doing, body }, signal);
    } catch (error) {
      if (isBackendError(error) && error.code === 'permission-denied') await this.#throwIfMissing(doing, signal);
      throw error;
    }
    const answer = encryptAnswer.safeParse(written);
    const [, version, base64] = CIPHERTEXT.exec(answer.data?.data.ciphertext ?? '') ?? [];
    if (version === undefined || base64 === undefined) {
      throw new BackendError('internal', `vault: ${doing}: the answer holds no ciphertext of transit`);
    }
    return { version: Number(version), ciphertext: Uint8Array.from(Buffer.from(base64, 'base64')) };
  }

  /** Without the right to create, encrypting with a missing key is "permission denied"; decrypting tells which of the two it is. */
  async #throwIfMissing(doing: string, signal: AbortSignal): Promise<void> {
    try {
      await this.#write('decrypt', { doing, body: { ciphertext: TOO_SHORT } }, signal);
    } catch (error) {
      if (isBackendError(error) && error.code === 'key-not-found') throw error;
    }
  }

  async #isReplaced(version: number, createdAt: number, signal: AbortSignal): Promise<boolean> {
    try {
      return (await this.#read('compare the creation time', signal)).createdAt(version) !== createdAt;
    } catch {
      // What is known goes to the caller: that the ciphertext does not fit.
      return false;
    }
  }

  #kekId(version: number, key: TransitKey | undefined, doing: string): string {
    const createdAt = key?.createdAt(version);
    if (key !== undefined && createdAt === undefined) {
      throw new BackendError('key-not-found', `vault: ${doing}: version ${version} is gone already`);
    }
    return this.#kekIds.format({ version, createdAt });
  }

  async #read(doing: string, signal: AbortSignal): Promise<TransitKey> {
    const path = `${this.#mount}/keys/${this.#key}`;
    const answer = await this.#request(doing, (context) => this.#client.read(path, context, signal), signal);
    return transitKey(answer, doing);
  }

  async #write(
    operation: 'encrypt' | 'decrypt',
    { doing, body }: { readonly doing: string; readonly body: Readonly<Record<string, string | boolean>> },
    signal: AbortSignal,
  ): Promise<unknown> {
    const path = `${this.#mount}/${operation}/${this.#key}`;
    return this.#request(doing, (context) => this.#client.write(path, { body, ...context }, signal), signal);
  }

  async #request(
    doing: string,
    send: (context: { readonly namespace: string | undefined; readonly token: string }) => Promise<unknown>,
    signal: AbortSignal,
  ): Promise<unknown> {
    signal.throwIfAborted();
    this.#throwIfClosed(doing);
    try {
      return await this.#session.use((token) => send({ namespace: this.#namespace, token }), signal);
    } catch (error) {
      throw error instanceof VaultFailure ? keyError(error, doing) : error;
    }
  }

  #throwIfClosed(doing: string): void {
    if (this.#closed) throw new BackendError('internal', `vault: ${doing}: the backend is closed`);
  }
}
