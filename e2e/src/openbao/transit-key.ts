import { BaoRefusal, type BaoClient } from './bao-client.js';

/** A key of the transit engine, as its owner handles it. */
export class TransitKey {
  readonly #root: BaoClient;
  readonly #path: string;

  private constructor(root: BaoClient, path: string) {
    this.#root = root;
    this.#path = path;
  }

  static async create(
    root: BaoClient,
    name: string,
    options: Readonly<Record<string, unknown>> = {},
  ): Promise<TransitKey> {
    const key = new TransitKey(root, `transit/keys/${name}`);
    await root.post(key.#path, options);
    return key;
  }

  /** Number of the newest version. */
  async latestVersion(): Promise<number> {
    const { data } = (await this.#root.get(this.#path)) as { data: { latest_version: number } };
    return data.latest_version;
  }

  async rotate(): Promise<void> {
    await this.#root.post(`${this.#path}/rotate`);
  }

  async configure(options: Readonly<Record<string, unknown>>): Promise<void> {
    await this.#root.post(`${this.#path}/config`, options);
  }

  /** Destroys every version but the newest. */
  async trim(): Promise<void> {
    const latest = await this.latestVersion();
    await this.configure({ min_decryption_version: latest, min_encryption_version: latest });
    await this.#root.post(`${this.#path}/trim`, { min_available_version: latest });
  }

  async softDelete(): Promise<void> {
    await this.#root.delete(`${this.#path}/soft-delete`);
  }

  async delete(): Promise<void> {
    await this.configure({ deletion_allowed: true });
    await this.#root.delete(this.#path);
  }

  /** Another key beneath the same name, with as many versions: nothing but what it opens tells it apart from the old one. */
  async replace(): Promise<void> {
    const versions = await this.latestVersion();
    await this.delete();
    await this.#root.post(this.#path);
    for (let version = 1; version < versions; version += 1) await this.rotate();
  }

  /** The key is there and can be used, whatever befell it. */
  async mend(): Promise<void> {
    try {
      const { data } = (await this.#root.get(this.#path)) as { data: { soft_deleted: boolean } };
      if (data.soft_deleted) await this.#root.post(`${this.#path}/soft-delete-restore`);
    } catch (error) {
      if (!(error instanceof BaoRefusal) || error.status !== 404) throw error;
      await this.#root.post(this.#path);
    }
  }

  async exists(): Promise<boolean> {
    return (await this.#root.status(this.#path)) === 200;
  }
}
