/**
 * `vault/<mount>/<key>/<version>`, and with `kekId: version-and-creation-time` another part: when Vault made that version, in seconds since 1970.
 *
 * The namespace and the address are no part of it: they can change while the key stays the same.
 */
export interface KeyVersion {
  readonly version: number;
  /** `undefined` in the plain form. */
  readonly createdAt: number | undefined;
}

const VERSION = /^([1-9]\d{0,8})(?:\/(\d{1,12}))?$/;

/** The KEK ids of one key. */
export class KekIds {
  readonly #prefix: string;

  constructor({ mount, key }: { readonly mount: string; readonly key: string }) {
    this.#prefix = `vault/${mount}/${key}/`;
  }

  format({ version, createdAt }: KeyVersion): string {
    return `${this.#prefix}${version}${createdAt === undefined ? '' : `/${createdAt}`}`;
  }

  /** The version that `kekId` names, in either form: the config may have changed since. `undefined` when it names another key. */
  parse(kekId: string): KeyVersion | undefined {
    if (!kekId.startsWith(this.#prefix)) return undefined;
    const [whole, version, createdAt] = VERSION.exec(kekId.slice(this.#prefix.length)) ?? [];
    if (whole === undefined) return undefined;
    return { version: Number(version), createdAt: createdAt === undefined ? undefined : Number(createdAt) };
  }
}
