import { CryptographyClient, KeyClient, type KeyVaultKey } from '@azure/keyvault-keys';
import { BackendError, type Backend, type Host, type WrappedKey } from '@sealwax/core';
import type { AzureConfig } from './config.js';
import { vaultError } from './errors.js';
import { httpClients, type HttpClients } from './http-client.js';
import { kekIdOf, versionIn } from './key-version.js';
import { Login } from './login.js';

/** Versions whose clients are kept: the current one and those of a rotation or two. */
const KEPT_CLIENTS = 8;

/**
 * Wraps with the current version of a key in Key Vault or a Managed HSM.
 *
 * Every wrap names the version that it wants: the client reports the id that it was made with, not the `kid` of the answer, so without
 * a version a rotation in between would have it name one that did not wrap.
 */
export class AzureBackend implements Backend {
  readonly #config: AzureConfig;
  readonly #http: HttpClients;
  readonly #login: Login;
  readonly #keys: KeyClient;
  readonly #clients = new Map<string, CryptographyClient>();
  readonly #closing = new AbortController();

  private constructor(config: AzureConfig, http: HttpClients, { host }: { readonly host: Host }) {
    this.#config = config;
    this.#http = http;
    this.#login = new Login(config, http.login, { host });
    this.#keys = new KeyClient(config.vault, this.#login, this.#clientOptions);
  }

  /** Reaches for the key once, so that a wrong name, a missing right or a failing login is said now. */
  static async open(config: AzureConfig, host: Host): Promise<AzureBackend> {
    const backend = new AzureBackend(config, await httpClients(config, host), { host });
    try {
      await backend.currentKekId(host.signal);
      return backend;
    } catch (error) {
      await backend.close();
      throw error;
    }
  }

  async currentKekId(signal: AbortSignal): Promise<string> {
    return kekIdOf(this.#config, await this.#currentVersion(signal));
  }

  async wrap(plaintext: Uint8Array, signal: AbortSignal): Promise<WrappedKey> {
    const version = await this.#currentVersion(signal);
    const kekId = kekIdOf(this.#config, version);
    const attempt = { doing: `wrap with ${kekId}`, unwrapping: false, signal };
    const { result } = await this.#ask(attempt, (abortSignal) =>
      this.#clientOf(version).wrapKey(this.#config.algorithm, plaintext, { abortSignal }),
    );
    return { kekId, ciphertext: result };
  }

  async unwrap({ kekId, ciphertext }: WrappedKey, signal: AbortSignal): Promise<Uint8Array> {
    const version = versionIn(kekId, this.#config);
    if (version === undefined) {
      const expected = kekIdOf(this.#config, '<version>');
      throw new BackendError('invalid-ciphertext', `azure: unwrap: the KEK id is none of ${expected}`);
    }
    const attempt = { doing: `unwrap with ${kekIdOf(this.#config, version)}`, unwrapping: true, signal };
    const { result } = await this.#ask(attempt, (abortSignal) =>
      this.#clientOf(version).unwrapKey(this.#config.algorithm, ciphertext, { abortSignal }),
    );
    return result;
  }

  close(): Promise<void> {
    // Connections belong to the host’s agents, which end with its signal.
    this.#closing.abort();
    this.#login.forget();
    this.#clients.clear();
    return Promise.resolve();
  }

  async #currentVersion(signal: AbortSignal): Promise<string> {
    const { vault, key } = this.#config;
    const doing = `read the current version of ${vault}/keys/${key}`;
    const { properties } = await this.#ask({ doing, unwrapping: false, signal }, (abortSignal) =>
      this.#keys.getKey(key, { abortSignal }),
    );
    if (properties.enabled === false) {
      throw new BackendError('key-disabled', `azure: ${doing}: the current version is disabled`);
    }
    const version = versionIn(properties.id ?? '', this.#config);
    if (version === undefined) throw new BackendError('internal', `azure: ${doing}: the answer names another key`);
    return version;
  }

  /**
   * A client for one version.
   *
   * It is given a key without material, operations or dates. With the material it would wrap by itself for some algorithms, and so under
   * a key that has been disabled since; with the dates it would refuse to unwrap under an expired version, which the service does.
   */
  #clientOf(version: string): CryptographyClient {
    const known = this.#clients.get(version);
    if (known !== undefined) return known;
    const id = kekIdOf(this.#config, version);
    const { vault: vaultUrl, key: name } = this.#config;
    const bare: KeyVaultKey = { id, name, properties: { id, name, vaultUrl, version } };
    const client = new CryptographyClient(bare, this.#login, this.#clientOptions);
    const [oldest] = this.#clients.keys();
    if (oldest !== undefined && this.#clients.size >= KEPT_CLIENTS) this.#clients.delete(oldest);
    this.#clients.set(version, client);
    return client;
  }

  // A new object each time: the SDK writes into it.
  get #clientOptions() {
    // Core repeats what failed, and no answer of Key Vault is a redirect that a token should follow.
    return { httpClient: this.#http.vault, retryOptions: { maxRetries: 0 }, redirectOptions: { maxRetries: 0 } };
  }

  async #ask<T>(
    {
      doing,
      unwrapping,
      signal,
    }: { readonly doing: string; readonly unwrapping: boolean; readonly signal: AbortSignal },
    request: (abortSignal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const given = AbortSignal.any([signal, this.#closing.signal]);
    try {
      given.throwIfAborted();
      return await orAborted(request(given), given);
    } catch (error) {
      if (this.#closing.signal.aborted) throw new BackendError('internal', `azure: ${doing}: the backend is closed`);
      const failure = vaultError(error, { doing, unwrapping });
      if (failure.code === 'unauthenticated') this.#login.forget();
      throw failure;
    }
  }
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
