import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { BackendError, FileError, isMissingFile, type Backend, type WrappedKey } from '@sealwax/core';
import type { LocalConfig } from './config.js';
import { KeyFileError, readKeyFile, type KeyVersion } from './key-file.js';

const CIPHER = 'aes-256-gcm';
const NONCE_LENGTH = 12;
const TAG_LENGTH = 16;
const KEK_ID_PREFIX = 'local/';

/**
 * Wraps under the newest version of a key file.
 *
 * The file is read anew for each call: a rotation is seen without a watch, and no KEK stays in memory. Calls are as rare as those to a KMS.
 *
 * A wrapped key is nonce (12 bytes) ‖ AES-256-GCM ciphertext ‖ tag (16 bytes), with the KEK id as additional data.
 */
export class LocalBackend implements Backend {
  readonly #path: string;
  #closed = false;

  constructor({ path }: LocalConfig) {
    this.#path = path;
  }

  async currentKekId(signal: AbortSignal): Promise<string> {
    const versions = await this.#read('read the current version', signal);
    return kekIdOf(versions[versions.length - 1] ?? versions[0]);
  }

  async wrap(plaintext: Uint8Array, signal: AbortSignal): Promise<WrappedKey> {
    const versions = await this.#read('wrap', signal);
    const version = versions[versions.length - 1] ?? versions[0];
    const kekId = kekIdOf(version);
    const nonce = randomBytes(NONCE_LENGTH);
    const cipher = createCipheriv(CIPHER, version.key, nonce, { authTagLength: TAG_LENGTH });
    cipher.setAAD(Buffer.from(kekId));
    return { kekId, ciphertext: Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]) };
  }

  async unwrap({ kekId, ciphertext }: WrappedKey, signal: AbortSignal): Promise<Uint8Array> {
    const versions = await this.#read('unwrap', signal);
    const version = versions.find((candidate) => kekIdOf(candidate) === kekId);
    if (version === undefined) {
      throw kekId.startsWith(KEK_ID_PREFIX)
        ? new BackendError(
            'key-not-found',
            `local: unwrap: ${this.#path} has no version ${kekId.slice(KEK_ID_PREFIX.length)}`,
          )
        : new BackendError('invalid-ciphertext', 'local: unwrap: the KEK id is not one of the local backend');
    }
    const invalid = (reason: string) =>
      new BackendError('invalid-ciphertext', `local: unwrap with ${kekId}: ${reason}`);
    if (ciphertext.length <= NONCE_LENGTH + TAG_LENGTH) throw invalid('too short');
    const tagStart = ciphertext.length - TAG_LENGTH;
    const decipher = createDecipheriv(CIPHER, version.key, ciphertext.subarray(0, NONCE_LENGTH), {
      authTagLength: TAG_LENGTH,
    });
    decipher.setAAD(Buffer.from(kekId));
    decipher.setAuthTag(ciphertext.subarray(tagStart));
    const plaintext = decipher.update(ciphertext.subarray(NONCE_LENGTH, tagStart));
    try {
      decipher.final();
    } catch {
      plaintext.fill(0);
      throw invalid('authentication failed');
    }
    return plaintext;
  }

  close(): Promise<void> {
    // Holds nothing open; a call that comes later is a mistake all the same.
    this.#closed = true;
    return Promise.resolve();
  }

  async #read(doing: string, signal: AbortSignal): Promise<readonly [KeyVersion, ...KeyVersion[]]> {
    signal.throwIfAborted();
    if (this.#closed) throw new BackendError('internal', `local: ${doing}: the backend is closed`);
    try {
      return await readKeyFile(this.#path);
    } catch (error) {
      if (isMissingFile(error)) {
        const hint = 'restore it from a backup, or make one with `sealwax local init` if this cluster has none yet';
        throw new BackendError('key-not-found', `local: ${doing}: ${error.message}; ${hint}`, { cause: error });
      }
      // Whatever else is wrong with the file, an operator mends it: no refusal, and nothing to be wiped for.
      if (error instanceof KeyFileError || error instanceof FileError) {
        throw new BackendError('unavailable', `local: ${doing}: ${error.message}`, { cause: error });
      }
      throw error;
    }
  }
}

function kekIdOf({ id }: KeyVersion): string {
  return `${KEK_ID_PREFIX}${id}`;
}
