import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { KmsStatus } from './kms-status.js';

/** cloud.google.com/kms/docs/key-states. */
export type VersionState = 'ENABLED' | 'DISABLED' | 'DESTROY_SCHEDULED' | 'DESTROYED';
/** cloud.google.com/kms/docs/protection-levels. */
export type ProtectionLevel = 'SOFTWARE' | 'HSM' | 'EXTERNAL';

export interface StoredVersion {
  readonly name: string;
  state: VersionState;
  /** Gone when the version is destroyed. */
  material: Buffer | undefined;
}

interface StoredKey {
  readonly name: string;
  readonly protectionLevel: ProtectionLevel;
  readonly versions: StoredVersion[];
  primary: StoredVersion | undefined;
}

const NONCE_LENGTH = 12;
const TAG_LENGTH = 16;
/** Of a ciphertext: which version made it, in a form that says nothing to a client. */
const NUMBER_LENGTH = 4;

/**
 * Key rings with symmetric keys and everything that can befall them: cloud.google.com/kms/docs/resource-hierarchy. A ring can never be
 * deleted, nor a key; what ends are versions.
 */
export class KmsStore {
  readonly #keys = new Map<string, StoredKey>();
  readonly #aliases = new Map<string, string>();

  createKey(name: string, protectionLevel: ProtectionLevel = 'SOFTWARE'): void {
    if (this.#keys.has(name)) throw new KmsStatus('ALREADY_EXISTS', `CryptoKey ${name} already exists.`);
    this.#keys.set(name, { name, protectionLevel, versions: [], primary: undefined });
    this.rotate(name);
  }

  /** cloud.google.com/kms/docs/rotate-key: a new version, which becomes the primary one. */
  rotate(name: string): StoredVersion {
    const key = this.key(name);
    const version: StoredVersion = {
      name: `${name}/cryptoKeyVersions/${key.versions.length + 1}`,
      state: 'ENABLED',
      material: randomBytes(32),
    };
    key.versions.push(version);
    key.primary = version;
    return version;
  }

  /** Sets an older version as the primary one, or a newer. */
  setPrimary(versionName: string): void {
    const version = this.version(versionName);
    if (version.state !== 'ENABLED') throw notEnabled(version);
    this.key(keyOf(versionName)).primary = version;
  }

  /** cloud.google.com/kms/docs/destroy-restore: scheduled first, then gone for good. */
  scheduleDestruction(versionName: string): void {
    this.version(versionName).state = 'DESTROY_SCHEDULED';
  }

  /** Same page: a restored version is disabled. */
  restore(versionName: string): void {
    const version = this.version(versionName);
    if (version.state !== 'DESTROY_SCHEDULED') {
      throw new KmsStatus('FAILED_PRECONDITION', `${versionName} is not scheduled for destruction.`);
    }
    version.state = 'DISABLED';
  }

  destroy(versionName: string): void {
    const version = this.version(versionName);
    version.state = 'DESTROYED';
    version.material?.fill(0);
    version.material = undefined;
  }

  key(name: string): StoredKey {
    const [prefix, meaning] = [...this.#aliases].find(([alias]) => name.startsWith(alias)) ?? ['', ''];
    const key = this.#keys.get(`${meaning}${name.slice(prefix.length)}`);
    if (key === undefined) throw new KmsStatus('NOT_FOUND', `CryptoKey ${name} not found.`);
    return key;
  }

  version(name: string): StoredVersion {
    const version = this.#keys.get(keyOf(name))?.versions.find((candidate) => candidate.name === name);
    if (version === undefined) throw new KmsStatus('NOT_FOUND', `CryptoKeyVersion ${name} not found.`);
    return version;
  }

  /** Another spelling of a resource name: cloud.google.com/resource-manager/docs/creating-managing-projects, a project has a number too. */
  alias(prefix: string, meaning: string): void {
    this.#aliases.set(prefix, meaning);
  }

  /** cloud.google.com/kms/docs/reference/rpc/google.cloud.kms.v1#encryptrequest: by key (its primary version) or by version. */
  encrypt(
    name: string,
    plaintext: Buffer,
    additional: Buffer,
  ): { readonly version: StoredVersion; readonly ciphertext: Buffer } {
    const version = name.includes('/cryptoKeyVersions/') ? this.version(name) : this.key(name).primary;
    if (version === undefined) throw new KmsStatus('FAILED_PRECONDITION', `CryptoKey ${name} has no primary version.`);
    if (version.state !== 'ENABLED' || version.material === undefined) throw notEnabled(version);
    const nonce = randomBytes(NONCE_LENGTH);
    const cipher = createCipheriv('aes-256-gcm', version.material, nonce).setAAD(additional);
    const number = Buffer.alloc(NUMBER_LENGTH);
    number.writeUInt32BE(Number(version.name.slice(version.name.lastIndexOf('/') + 1)));
    const ciphertext = Buffer.concat([number, nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
    return { version, ciphertext };
  }

  /** Same page, `DecryptRequest`: always by key; the version is found by the service. */
  decrypt(
    name: string,
    ciphertext: Buffer,
    additional: Buffer,
  ): { readonly key: StoredKey; readonly version: StoredVersion; readonly plaintext: Buffer } {
    const key = this.key(name);
    // The service says the same of every ciphertext that is none of this key.
    const failed = new KmsStatus(
      'INVALID_ARGUMENT',
      "Decryption failed: verify that 'name' refers to the correct CryptoKey.",
    );
    if (ciphertext.length <= NUMBER_LENGTH + NONCE_LENGTH + TAG_LENGTH) throw failed;
    const version = key.versions[ciphertext.readUInt32BE(0) - 1];
    if (version === undefined) throw failed;
    if (version.state !== 'ENABLED' || version.material === undefined) throw notEnabled(version);
    const nonce = ciphertext.subarray(NUMBER_LENGTH, NUMBER_LENGTH + NONCE_LENGTH);
    const decipher = createDecipheriv('aes-256-gcm', version.material, nonce).setAAD(additional);
    decipher.setAuthTag(ciphertext.subarray(-TAG_LENGTH));
    try {
      const start = decipher.update(ciphertext.subarray(NUMBER_LENGTH + NONCE_LENGTH, -TAG_LENGTH));
      return { key, version, plaintext: Buffer.concat([start, decipher.final()]) };
    } catch {
      throw failed;
    }
  }
}

/** Text and violation as answers of the service quote them in public reports. */
function notEnabled({ name, state }: StoredVersion): KmsStatus {
  const violation = { type: `KEY_${state === 'DISABLED' ? 'DISABLED' : 'DESTROYED'}`, subject: name };
  return new KmsStatus('FAILED_PRECONDITION', `${name} is not enabled, current state is: ${state}.`, { violation });
}

function keyOf(versionName: string): string {
  return versionName.slice(0, versionName.indexOf('/cryptoKeyVersions/'));
}
