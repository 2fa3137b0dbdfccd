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
    const { snapshot, shape } = this.#ring;
    if (snapshot === undefined) return { version: 'v2', healthz: `no local key: ${this.#reasons()}`, keyId: '' };
    if (shape.kind === 'ok') return { version: 'v2', healthz: 'ok', keyId: snapshot.keyId };
    return {
      version: 'v2',
      healthz: `${shape.reason}: ${this.#reasons()}`,
      keyId: shape.kind === 'unready' ? snapshot.keyId : '',
    };
  }

  /**
   * Seals `seed` under the current local key; no remote call.
   *
   * @throws {KmsError} INVALID_ARGUMENT for a seed that is empty or too long, UNAVAILABLE while there is no local key, or writes are to stop
   */
  encrypt(seed: Uint8Array): EnvelopeParts {
    if (seed.length === 0 || seed.length > MAX_SEED_LENGTH) {
      throw new KmsError('INVALID_ARGUMENT', `plaintext: ${seed.length} bytes, not 1 to ${MAX_SEED_LENGTH}`);
    }
    const { snapshot, shape } = this.#ring;
    if (snapshot === undefined || shape.kind === 'stop-writes') {
      throw new KmsError('UNAVAILABLE', this.health().healthz);
    }
    const { keyId, localKey, annotation } = snapshot;
    this.#ring.encryptAnswered(snapshot);
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
    const known = this.#ring.find(envelope.commitment);
    const localKey = known ?? (await this.#ring.obtain(envelope, signal));
    const seed = localKey.open(envelope.sealedSeed, envelope.aad);
    if (seed === undefined) {
      throw new KmsError(
        'INVALID_ARGUMENT',
        'does not open: the ciphertext, its key_id or its annotation is not as it was sealed',
      );
    }
    if (known === undefined) this.#ring.opened(envelope);
    return seed;
  }

  #reasons(): string {
    return this.#ring.keyStates
      .map(({ name, state, error }) => `key ${JSON.stringify(name)}: ${error?.message ?? state}`)
      .join('; ');
  }
}
