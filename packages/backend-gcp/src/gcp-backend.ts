import { BackendError, type Backend, type Host, type WrappedKey } from '@sealwax/core';
import type { GcpConfig } from './config.js';
import { crc32c } from './crc32c.js';
import { kmsError, stateVerdict } from './errors.js';
import { isVersionOf } from './key-version.js';
import { KmsClient } from './kms-client.js';
import { Login } from './login.js';

/**
 * Wraps with the primary version of a symmetric key in Cloud KMS.
 *
 * A decryption names the key and not the version, so each ciphertext is bound to its version by additional authenticated data: under the
 * name of another version it does not open.
 */
export class GcpBackend implements Backend {
  readonly #config: GcpConfig;
  readonly #login: Login;
  readonly #kms: KmsClient;
  readonly #closing = new AbortController();

  private constructor(config: GcpConfig, login: Login, { host }: { readonly host: Host }) {
    this.#config = config;
    this.#login = login;
    this.#kms = new KmsClient(config, host);
  }

  /** Reaches for the key once, so that a wrong name, a missing right or a failing login is said now. */
  static async open(config: GcpConfig, host: Host): Promise<GcpBackend> {
    const backend = new GcpBackend(config, await Login.create(config, host), { host });
    try {
      await backend.currentKekId(host.signal);
      return backend;
    } catch (error) {
      await backend.close();
      throw error;
    }
  }

  async currentKekId(signal: AbortSignal): Promise<string> {
    const { key } = this.#config;
    const doing = `read the current version of ${key}`;
    const { primary } = await this.#ask({ doing, unwrapping: false, signal }, async (given) =>
      this.#kms.call('getCryptoKey', { name: key }, given),
    );
    if (primary?.name == null) {
      throw new BackendError('key-not-found', `gcp: ${doing}: the key has no primary version`);
    }
    const state = String(primary.state);
    if (state !== 'ENABLED') {
      const { code, reason } = stateVerdict(state);
      throw new BackendError(code, `gcp: ${doing}: ${reason}`);
    }
    if (!isVersionOf(primary.name, this.#config)) {
      // For instance the project’s number in the config, and its id in the answer.
      throw new BackendError('internal', `gcp: ${doing}: the service calls it ${primary.name}; write the config so`);
    }
    return primary.name;
  }

  async wrap(plaintext: Uint8Array, signal: AbortSignal): Promise<WrappedKey> {
    // Not the key, whose primary version may change in between: the version is part of what is authenticated.
    const kekId = await this.currentKekId(signal);
    const additionalAuthenticatedData = boundTo(kekId);
    const doing = `wrap with ${kekId}`;
    const answer = await this.#ask({ doing, unwrapping: false, signal }, async (given) =>
      this.#kms.call(
        'encrypt',
        {
          name: kekId,
          plaintext,
          plaintextCrc32c: { value: crc32c(plaintext) },
          additionalAuthenticatedData,
          additionalAuthenticatedDataCrc32c: { value: crc32c(additionalAuthenticatedData) },
        },
        given,
      ),
    );
    if (answer.verifiedPlaintextCrc32c !== true || answer.verifiedAdditionalAuthenticatedDataCrc32c !== true) {
      throw new BackendError('unavailable', `gcp: ${doing}: the request was damaged on its way`);
    }
    if (answer.name !== kekId) throw new BackendError('internal', `gcp: ${doing}: another version answered`);
    return { kekId, ciphertext: intact(answer.ciphertext, answer.ciphertextCrc32c, doing) };
  }

  async unwrap({ kekId, ciphertext }: WrappedKey, signal: AbortSignal): Promise<Uint8Array> {
    const { key: name } = this.#config;
    if (!isVersionOf(kekId, this.#config)) {
      const expected = `${name}/cryptoKeyVersions/<number>`;
      throw new BackendError('invalid-ciphertext', `gcp: unwrap: the KEK id is none of ${expected}`);
    }
    const additionalAuthenticatedData = boundTo(kekId);
    const doing = `unwrap with ${kekId}`;
    // A request that was damaged on its way is refused by the service, which compares the checksums of both.
    const answer = await this.#ask({ doing, unwrapping: true, signal }, async (given) =>
      this.#kms.call(
        'decrypt',
        {
          name,
          ciphertext,
          ciphertextCrc32c: { value: crc32c(ciphertext) },
          additionalAuthenticatedData,
          additionalAuthenticatedDataCrc32c: { value: crc32c(additionalAuthenticatedData) },
        },
        given,
      ),
    );
    return intact(answer.plaintext, answer.plaintextCrc32c, doing);
  }

  close(): Promise<void> {
    this.#closing.abort();
    this.#login.forget();
    this.#kms.reconnect();
    return Promise.resolve();
  }

  async #ask<T>(
    {
      doing,
      unwrapping,
      signal,
    }: { readonly doing: string; readonly unwrapping: boolean; readonly signal: AbortSignal },
    request: (given: { readonly authorization: string; readonly signal: AbortSignal }) => Promise<T>,
  ): Promise<T> {
    const given = AbortSignal.any([signal, this.#closing.signal]);
    try {
      given.throwIfAborted();
      const authorization = await orAborted(this.#login.authorization(), given);
      return await orAborted(request({ authorization, signal: given }), given);
    } catch (error) {
      if (this.#closing.signal.aborted) throw new BackendError('internal', `gcp: ${doing}: the backend is closed`);
      const failure = kmsError(error, { doing, unwrapping });
      if (failure.code === 'unauthenticated') this.#login.forget();
      if (failure.code === 'unavailable') this.#kms.reconnect();
      throw failure;
    }
  }
}

/** What is authenticated along with a local key: the purpose, and the version by its number, which no spelling of the config changes. */
function boundTo(kekId: string): Uint8Array {
  return Buffer.from(`sealwax/${kekId.slice(kekId.indexOf('cryptoKeyVersions/'))}`);
}

/** Bytes of an answer, once their checksum has shown that they arrived as they were sent. */
function intact(
  bytes: Uint8Array | string | null | undefined,
  checksum: { value?: unknown } | null | undefined,
  doing: string,
): Uint8Array {
  if (bytes instanceof Uint8Array && Number(checksum?.value ?? Number.NaN) === crc32c(bytes)) return bytes;
  throw new BackendError('unavailable', `gcp: ${doing}: the answer was damaged on its way`);
}

/** `answer`, or a rejection as soon as `signal` aborts: a login is shared by several calls and goes on for the others. */
async function orAborted<T>(answer: Promise<T>, signal: AbortSignal): Promise<T> {
  const ended = new AbortController();
  try {
    return await Promise.race([
      answer,
      new Promise<never>((_resolve, reject) => {
        const abort = () => {
          reject(new DOMException('no answer in time', 'AbortError'));
        };
        if (signal.aborted) abort();
        else signal.addEventListener('abort', abort, { signal: ended.signal });
      }),
    ]);
  } finally {
    ended.abort();
  }
}
