import { randomBytes } from 'node:crypto';
import type { Sealed } from './kms-wire.js';
import type { PluginClient } from './plugin-client.js';

/** Seeds sealed by a plugin, kept as an API server keeps them, and the plaintext beside them. */
export class SeedStore {
  readonly #client: PluginClient;
  readonly #seeds: { readonly seed: Uint8Array; readonly sealed: Sealed }[] = [];

  constructor(client: PluginClient) {
    this.#client = client;
  }

  get size(): number {
    return this.#seeds.length;
  }

  /** The key ids under which something is stored, oldest first. */
  get keyIds(): readonly string[] {
    return [...new Set(this.#seeds.map(({ sealed }) => sealed.keyId))];
  }

  /**
   * Status, then Encrypt, as when an API server starts or finds a new key id.
   *
   * @returns what is stored, or `undefined` when an API server would not have stored it: not ok, or another id than Status said
   */
  async write(): Promise<Sealed | undefined> {
    const { healthz, keyId } = await this.#client.status();
    if (healthz !== 'ok') return undefined;
    const seed = randomBytes(32);
    const sealed = await this.#client.encrypt(seed);
    if (sealed.keyId !== keyId) return undefined;
    this.#seeds.push({ seed, sealed });
    return sealed;
  }

  /** Decrypts everything; throws when one seed does not come back as it was. */
  async readAll(): Promise<void> {
    for (const { seed, sealed } of this.#seeds) {
      const opened = await this.#client.decrypt(sealed);
      if (!Buffer.from(seed).equals(opened)) throw new Error(`a seed under ${sealed.keyId} came back as another`);
    }
  }
}
