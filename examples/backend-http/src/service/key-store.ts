import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { Refusal } from './refusal.js';

const CIPHER = 'aes-256-gcm';
const NONCE_LENGTH = 12;
const TAG_LENGTH = 16;
const MAX_PLAINTEXT_LENGTH = 4096;

const state = z.record(z.string(), z.array(z.object({ version: z.int(), material: z.base64() })));

/** The service's keys with their versions, in a file that outlives the process. */
export class KeyStore {
  readonly #file: string;
  readonly #keys: z.infer<typeof state>;

  constructor(file: string) {
    this.#file = file;
    this.#keys = existsSync(file) ? state.parse(JSON.parse(readFileSync(file, 'utf8'))) : {};
  }

  current(name: string): number {
    return this.#newest(name).version;
  }

  wrap(name: string, plaintext: Uint8Array): { version: number; ciphertext: Uint8Array } {
    if (plaintext.length === 0 || plaintext.length > MAX_PLAINTEXT_LENGTH) throw new Refusal(400, 'bad-plaintext');
    const { version, material } = this.#newest(name);
    const nonce = randomBytes(NONCE_LENGTH);
    const cipher = createCipheriv(CIPHER, Buffer.from(material, 'base64'), nonce);
    cipher.setAAD(Buffer.from(`${name}/${version}`));
    return {
      version,
      ciphertext: Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]),
    };
  }

  unwrap(name: string, version: number, ciphertext: Uint8Array): Uint8Array {
    const found = this.#versions(name).find((candidate) => candidate.version === version);
    if (found === undefined) throw new Refusal(404, 'no-such-version');
    if (ciphertext.length <= NONCE_LENGTH + TAG_LENGTH) throw new Refusal(400, 'bad-ciphertext');
    const nonce = ciphertext.subarray(0, NONCE_LENGTH);
    const decipher = createDecipheriv(CIPHER, Buffer.from(found.material, 'base64'), nonce);
    decipher.setAAD(Buffer.from(`${name}/${version}`));
    decipher.setAuthTag(ciphertext.subarray(-TAG_LENGTH));
    const plaintext = decipher.update(ciphertext.subarray(NONCE_LENGTH, -TAG_LENGTH));
    try {
      return Buffer.concat([plaintext, decipher.final()]);
    } catch {
      throw new Refusal(400, 'bad-ciphertext');
    }
  }

  create(name: string): void {
    if (this.#keys[name] === undefined) this.#save(name, [{ version: 1, material: newMaterial() }]);
  }

  rotate(name: string): void {
    this.#save(name, [...this.#versions(name), { version: this.current(name) + 1, material: newMaterial() }]);
  }

  /** Only the newest version stays. */
  destroyOldVersions(name: string): void {
    this.#save(name, [this.#newest(name)]);
  }

  /** Other material beneath the same name and version numbers: what was wrapped before is lost. */
  replace(name: string): void {
    this.#save(
      name,
      this.#versions(name).map(({ version }) => ({ version, material: newMaterial() })),
    );
  }

  #versions(name: string): z.infer<typeof state>[string] {
    const versions = this.#keys[name];
    if (versions === undefined) throw new Refusal(404, 'no-such-key');
    return versions;
  }

  #newest(name: string): { version: number; material: string } {
    const newest = this.#versions(name).at(-1);
    if (newest === undefined) throw new Refusal(404, 'no-such-key');
    return newest;
  }

  #save(name: string, versions: z.infer<typeof state>[string]): void {
    this.#keys[name] = versions;
    writeFileSync(`${this.#file}.tmp`, JSON.stringify(this.#keys), { mode: 0o600 });
    renameSync(`${this.#file}.tmp`, this.#file);
  }
}

function newMaterial(): string {
  return randomBytes(32).toString('base64');
}
