import {
  ANNOTATION_NAME,
  decodeEnvelope,
  encodeCiphertext,
  envelopeAad,
  MAX_SEED_LENGTH,
  type EnvelopeParts,
} from './envelope.js';
import type { KeyRing } from './key-ring.js';
import { KmsError } from './kms-error.js';

/** The answer to Status. `keyId` is empty while nothing can be sealed. */
export interface StatusAnswer {
  readonly version: 'v2';
  /** `ok`, or why not. */
  readonly healthz: string;
  readonly keyId: string;
}

/** The three RPCs of KMS v2: check the input, ask the ring, answer. */
export class KmsService {
  readonly #ring: KeyRing;

  constructor(ring: KeyRing) {
    this.#ring = ring;
  }

  /** Health and key id, from memory. Never throws. */
  status(): StatusAnswer {
    const answer = this.health();
    this.#ring.statusAnswered();
    return answer;
  }

  /** What Status would answer, for those who are not the API server. */
  health(): StatusAnswer {
    const snapshot = this.#ring.snapshot;
    return { version: 'v2', healthz: snapshot === undefined ? this.#notReady() : 'ok', keyId: snapshot?.keyId ?? '' };
  }

  /**
   * Seals `seed` under the current local key; no remote call.
   *
   * @throws {KmsError} INVALID_ARGUMENT for a seed that is empty or too long, UNAVAILABLE until the first local key is wrapped
   */
  encrypt(seed: Uint8Array): EnvelopeParts {
    if (seed.length === 0 || seed.length > MAX_SEED_LENGTH) {
      throw new KmsError('INVALID_ARGUMENT', `plaintext: ${seed.length} bytes, not 1 to ${MAX_SEED_LENGTH}`);
    }
    const snapshot = this.#ring.snapshot;
    if (snapshot === undefined) throw new KmsError('UNAVAILABLE', this.#notReady());
    const { keyId, localKey, annotation } = snapshot;
    return {
      ciphertext: encodeCiphertext(localKey.seal(seed, envelopeAad(annotation, keyId))),
      keyId,
      annotations: new Map([[ANNOTATION_NAME, annotation]]),
    };
  }

  /**
   * Opens what `encrypt` returned, here or on another node. One remote call if its local key is not in memory.
   *
   * @throws {KmsError} INVALID_ARGUMENT when one bit is not as sealed; else why the KMS gave no local key
   */
  async decrypt(parts: EnvelopeParts, signal: AbortSignal): Promise<Uint8Array> {
    const envelope = decodeEnvelope(parts, this.#ring.cluster);
    const localKey = this.#ring.find(envelope.commitment) ?? (await this.#ring.obtain(envelope, signal));
    const seed = localKey.open(envelope.sealedSeed, envelope.aad);
    if (seed === undefined) {
      throw new KmsError(
        'INVALID_ARGUMENT',
        'does not open: the ciphertext, its key_id or its annotation is not as it was sealed',
      );
    }
    return seed;
  }

  #notReady(): string {
    const reasons = this.#ring.keyStates.map(
      ({ name, error }) => `key ${JSON.stringify(name)}: ${error?.message ?? 'opening'}`,
    );
    return `no local key yet: ${reasons.join('; ')}`;
  }
}
