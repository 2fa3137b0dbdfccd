import {
  constants,
  createCipheriv,
  createDecipheriv,
  generateKeyPairSync,
  privateDecrypt,
  publicEncrypt,
  randomBytes,
  type KeyObject,
} from 'node:crypto';
import { VaultError } from './vault-error.js';

/** RFC 3394 §2.2.3.1. */
const KEY_WRAP_IV = Buffer.alloc(8, 0xa6);

export type KeyType = 'RSA' | 'RSA-HSM' | 'oct-HSM';

type Material =
  | { readonly kind: 'rsa'; readonly publicKey: KeyObject; readonly privateKey: KeyObject }
  | { readonly kind: 'aes'; readonly bytes: Buffer };

export interface StoredVersion {
  readonly id: string;
  readonly type: KeyType;
  readonly material: Material;
  readonly created: number;
  enabled: boolean;
  /** Seconds since the epoch. */
  notBefore: number | undefined;
  expires: number | undefined;
}

interface StoredKey {
  readonly versions: StoredVersion[];
  deleted: boolean;
}

/** Requests that one window of a vault takes. */
export interface Quota {
  readonly requests: number;
  readonly windowMs: number;
}

/**
 * The keys of one vault, with everything that can befall them.
 *
 * Names do not depend on case, and versions are 32 hexadecimal digits: learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates.
 */
export class KeyStore {
  readonly #keys = new Map<string, StoredKey>();

  /** learn.microsoft.com/rest/api/keyvault/keys/create-key: "If the named key already exists, Azure Key Vault creates a new version of the key." */
  create(name: string, type: KeyType = 'RSA'): StoredVersion {
    const key = this.#keys.get(name.toLowerCase()) ?? { versions: [], deleted: false };
    if (key.deleted) throw new VaultError(409, 'Conflict', 'ObjectIsDeletedButRecoverable');
    const version: StoredVersion = {
      id: randomBytes(16).toString('hex'),
      type,
      material: newMaterial(type),
      created: Math.floor(Date.now() / 1_000),
      enabled: true,
      notBefore: undefined,
      expires: undefined,
    };
    key.versions.push(version);
    this.#keys.set(name.toLowerCase(), key);
    return version;
  }

  versions(name: string): readonly StoredVersion[] {
    return this.#living(name).versions;
  }

  /** learn.microsoft.com/rest/api/keyvault/keys/get-key: without a version, the latest one. */
  find(name: string, id: string): StoredVersion {
    const { versions } = this.#living(name);
    const found = id === '' ? versions.at(-1) : versions.find((version) => version.id === id);
    if (found === undefined) throw new VaultError(404, 'KeyNotFound');
    return found;
  }

  /** learn.microsoft.com/azure/key-vault/general/soft-delete-overview: a deleted key can be recovered until it is purged. */
  delete(name: string): void {
    this.#living(name).deleted = true;
  }

  recover(name: string): void {
    const key = this.#keys.get(name.toLowerCase());
    if (key?.deleted !== true) throw new VaultError(404, 'KeyNotFound');
    key.deleted = false;
  }

  purge(name: string): void {
    if (this.#keys.get(name.toLowerCase())?.deleted !== true) throw new VaultError(404, 'KeyNotFound');
    this.#keys.delete(name.toLowerCase());
  }

  isDeleted(name: string): boolean {
    return this.#keys.get(name.toLowerCase())?.deleted === true;
  }

  #living(name: string): StoredKey {
    const key = this.#keys.get(name.toLowerCase());
    // learn.microsoft.com/azure/key-vault/general/key-vault-recovery: a deleted key is not found among the living ones.
    if (key === undefined || key.deleted) throw new VaultError(404, 'KeyNotFound');
    return key;
  }
}

/** learn.microsoft.com/rest/api/keyvault/keys/wrap-key. */
export function wrap({ material }: StoredVersion, algorithm: string, plaintext: Buffer): Buffer {
  if (material.kind === 'rsa' && algorithm === 'RSA-OAEP-256') {
    return publicEncrypt({ key: material.publicKey, ...oaep256 }, plaintext);
  }
  if (material.kind === 'aes' && algorithm === keyWrapName(material.bytes)) {
    const cipher = createCipheriv(keyWrapCipher(material.bytes), material.bytes, KEY_WRAP_IV);
    return Buffer.concat([cipher.update(plaintext), cipher.final()]);
  }
  throw new VaultError(400, 'BadParameter');
}

/** learn.microsoft.com/rest/api/keyvault/keys/unwrap-key; what does not open is a bad parameter, measured by users of the service. */
export function unwrap({ material }: StoredVersion, algorithm: string, ciphertext: Buffer): Buffer {
  try {
    if (material.kind === 'rsa' && algorithm === 'RSA-OAEP-256') {
      return privateDecrypt({ key: material.privateKey, ...oaep256 }, ciphertext);
    }
    if (material.kind === 'aes' && algorithm === keyWrapName(material.bytes)) {
      // RFC 3394 §2.2.2: two blocks of plaintext at least, and one more.
      if (ciphertext.length < 24) throw new VaultError(400, 'BadParameter');
      const decipher = createDecipheriv(keyWrapCipher(material.bytes), material.bytes, KEY_WRAP_IV);
      return Buffer.concat([decipher.update(ciphertext), decipher.final()]);
    }
  } catch {
    throw new VaultError(400, 'BadParameter');
  }
  throw new VaultError(400, 'BadParameter');
}

/** learn.microsoft.com/azure/key-vault/keys/about-keys-details: OAEP and MGF1 both with SHA-256. */
const oaep256 = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' };

function newMaterial(type: KeyType): Material {
  if (type === 'oct-HSM') return { kind: 'aes', bytes: randomBytes(32) };
  return { kind: 'rsa', ...generateKeyPairSync('rsa', { modulusLength: 2048 }) };
}

function keyWrapName(key: Buffer): string {
  return `A${key.length * 8}KW`;
}

function keyWrapCipher(key: Buffer): string {
  return `id-aes${key.length * 8}-wrap`;
}
