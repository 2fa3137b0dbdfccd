import { EnvelopeDecoder } from './envelope-decoder.js';
import { ANNOTATION_NAME, encodeCiphertext, envelopeAad, MAX_SEED_LENGTH, type EnvelopeParts } from './envelope.js';
import type { KeyRing } from './key-ring.js';
import { KmsError } from './kms-error.js';
import type { Snapshot } from './snapshot.js';

/** The answer to Status. `keyId` is empty while nothing can be sealed. */
export interface StatusAnswer {
  readonly version: 'v2';
  /** `ok`, or why not. */
  readonly healthz: string;
  readonly keyId: string;
}

/** Who waits for an answer. An `AbortController` is one. */
export interface Caller {
  /** Aborts when he gives up. Asked for only where there is something to wait for: to make one costs as much as to open a seed. */
  readonly signal: AbortSignal;
}

/** What the answers to Encrypt have in common until another local key seals. */
interface Sealing {
  readonly snapshot: Snapshot;
  readonly aad: Uint8Array;
  readonly annotations: EnvelopeParts['annotations'];
}

/** The three RPCs of KMS v2: check the input, ask the ring, answer. */
export class KmsService {
  readonly #ring: KeyRing;
  readonly #decoder: EnvelopeDecoder;
  #sealing: Sealing | undefined;

  constructor(ring: KeyRing) {
    this.#ring = ring;
    this.#decoder = new EnvelopeDecoder(ring.cluster);
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
   * Seals `seed` under the current local key; no remote call. Answers under the same local key share one `annotations`.
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
    const { keyId, localKey } = snapshot;
    const { aad, annotations } = this.#sealingUnder(snapshot);
    return { ciphertext: encodeCiphertext(localKey.seal(seed, aad)), keyId, annotations };
  }

  /**
   * Opens what `encrypt` returned, here or on another node. One remote call if its local key is not in memory.
   *
   * @throws {KmsError} INVALID_ARGUMENT when one bit is not as sealed; else why the KMS gave no local key
   */
  async decrypt(parts: EnvelopeParts, caller: Caller): Promise<Uint8Array> {
    const envelope = this.#decoder.decode(parts);
    const known = this.#ring.find(envelope.commitment);
    const localKey = known ?? (await this.#ring.obtain(envelope, caller.signal));
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

  #sealingUnder(snapshot: Snapshot): Sealing {
    if (this.#sealing?.snapshot !== snapshot) {
      const { keyId, annotation } = snapshot;
      this.#sealing = {
        snapshot,
        aad: envelopeAad(annotation, keyId),
        annotations: new Map([[ANNOTATION_NAME, annotation]]),
      };
      this.#ring.sealsUnder(snapshot);
    }
    return this.#sealing;
  }

  #reasons(): string {
    return this.#ring.keyStates
      .map(({ name, state, error }) => `key ${JSON.stringify(name)}: ${error?.message ?? state}`)
      .join('; ');
  }
}
