import { createCipheriv, createDecipheriv, hkdfSync, randomBytes, randomFillSync, timingSafeEqual } from 'node:crypto';
import { COMMITMENT_LENGTH, NONCE_LENGTH, TAG_LENGTH } from './envelope.js';

const CIPHER = 'aes-256-gcm';
const KEY_LENGTH = 32;
const SEAL_LABEL = 'sealwax/1/seal';
const COMMITMENT_LABEL = 'sealwax/1/commitment';

/**
 * A 256-bit key in memory, wrapped by one or more KEKs. It seals and opens seeds and never leaves the process in the clear, but for
 * `borrow`.
 *
 * AES-GCM alone does not commit to its key: a ciphertext can be made that opens under two. The commitment, derived from the local key beside the
 * seal key, tells a KMS that returned another key apart from tampered data.
 */
export class LocalKey {
  /** 32 bytes, public. */
  readonly commitment: Uint8Array;
  // Buffers and not KeyObjects, which cannot be overwritten; of their own, not from the pool.
  readonly #bytes: Buffer;
  readonly #sealKey: Buffer;
  #destroyed = false;

  /** Takes over `bytes`: nobody else may keep them. */
  private constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.#sealKey = derive(bytes, SEAL_LABEL, KEY_LENGTH);
    this.commitment = derive(bytes, COMMITMENT_LABEL, COMMITMENT_LENGTH);
  }

  static generate(): LocalKey {
    return new LocalKey(randomFillSync(Buffer.alloc(KEY_LENGTH)));
  }

  /**
   * The local key that a backend unwrapped. Copies `bytes`, which stay the caller's to overwrite.
   *
   * @throws {RangeError} when they are not 32
   */
  static fromBytes(bytes: Uint8Array): LocalKey {
    if (bytes.length !== KEY_LENGTH) throw new RangeError(`${bytes.length} bytes, not ${KEY_LENGTH}`);
    const copy = Buffer.alloc(KEY_LENGTH);
    copy.set(bytes);
    return new LocalKey(copy);
  }

  /** Whether `other` holds the same 32 bytes; takes the same time whatever the answer. */
  equals(other: LocalKey): boolean {
    return timingSafeEqual(this.#alive(this.#bytes), other.#alive(other.#bytes));
  }

  /** Whether this is the key that `commitment` was derived from. */
  commitsTo(commitment: Uint8Array): boolean {
    return commitment.length === COMMITMENT_LENGTH && timingSafeEqual(this.commitment, commitment);
  }

  /** Lends a copy of the 32 bytes for as long as `use` takes, and overwrites it then, so that a backend can keep or change nothing. */
  async borrow<T>(use: (bytes: Uint8Array) => Promise<T>): Promise<T> {
    const copy = Buffer.alloc(KEY_LENGTH);
    copy.set(this.#alive(this.#bytes));
    try {
      return await use(copy);
    } finally {
      copy.fill(0);
    }
  }

  /**
   * Seals `seed` under a random nonce.
   *
   * One key may seal at most 2^32 messages under random nonces (NIST SP 800-38D §8.3); one per API server start and key id is far below.
   *
   * @param aad - bound, not stored; `open` needs the same bytes
   * @returns nonce (12 bytes) ‖ ciphertext (`seed.length` bytes) ‖ tag (16 bytes)
   */
  seal(seed: Uint8Array, aad: Uint8Array): Uint8Array {
    const nonce = randomBytes(NONCE_LENGTH);
    const cipher = createCipheriv(CIPHER, this.#alive(this.#sealKey), nonce, { authTagLength: TAG_LENGTH });
    cipher.setAAD(aad);
    return Buffer.concat([nonce, cipher.update(seed), cipher.final(), cipher.getAuthTag()]);
  }

  /**
   * Opens what `seal` returned.
   *
   * @returns the seed, or `undefined` when one bit of the input or of `aad` is not as sealed
   */
  open(sealedSeed: Uint8Array, aad: Uint8Array): Uint8Array | undefined {
    if (sealedSeed.length < NONCE_LENGTH + TAG_LENGTH) return undefined;
    const tagStart = sealedSeed.length - TAG_LENGTH;
    const decipher = createDecipheriv(CIPHER, this.#alive(this.#sealKey), sealedSeed.subarray(0, NONCE_LENGTH), {
      authTagLength: TAG_LENGTH,
    });
    decipher.setAAD(aad);
    decipher.setAuthTag(sealedSeed.subarray(tagStart));
    const seed = decipher.update(sealedSeed.subarray(NONCE_LENGTH, tagStart));
    try {
      decipher.final();
      return seed;
    } catch {
      // The only failure of final() here is a tag that does not match.
      seed.fill(0);
      return undefined;
    }
  }

  /** Overwrites the key. What is called afterwards throws. */
  destroy(): void {
    this.#destroyed = true;
    this.#bytes.fill(0);
    this.#sealKey.fill(0);
  }

  #alive(bytes: Buffer): Buffer {
    if (this.#destroyed) throw new Error('the local key was destroyed');
    return bytes;
  }
}

/** HKDF-SHA-256 without salt: the input is uniformly random already (RFC 5869 §3.1). */
function derive(bytes: Uint8Array, label: string, length: number): Buffer {
  return Buffer.from(hkdfSync('sha256', bytes, new Uint8Array(0), label, length));
}
