import { LRUCache } from 'lru-cache';
import { atMost } from './at-most.js';
import {
  ANNOTATION_NAME,
  decodeAnnotation,
  envelopeAad,
  FORMAT,
  invalid,
  MAX_SEED_LENGTH,
  NONCE_LENGTH,
  TAG_LENGTH,
  type AnnotatedKey,
  type EnvelopeParts,
} from './envelope.js';

const MAX_KEY_ID_LENGTH = 1024; // the API server's
/** How many annotations are kept decoded; about 2 KB each. */
const MAX_KEPT = 1_000;

/** What all envelopes of one local key and key id have in common. */
interface SharedPart extends AnnotatedKey {
  readonly aad: Uint8Array;
}

interface KeptPart {
  readonly keyId: string;
  readonly shared: SharedPart;
}

/** An envelope as it came in, checked as far as that goes without a key. */
export interface ReceivedEnvelope extends SharedPart {
  /** Nonce ‖ sealed seed ‖ tag. */
  readonly sealedSeed: Uint8Array;
}

/** Takes apart what Decrypt got; the part that the seeds of a local key share only once, as that takes longer than to open one of them. */
export class EnvelopeDecoder {
  readonly #cluster: string;
  readonly #kept = new LRUCache<string, KeptPart>(atMost(MAX_KEPT));
  /** Looked at first: most API servers have one local key in use. */
  #last: KeptPart | undefined;

  /** @param cluster - ours; an envelope of another is refused */
  constructor(cluster: string) {
    this.#cluster = cluster;
  }

  /**
   * Refuses everything that `encodeAnnotation` and `encodeCiphertext` could not have made.
   *
   * @throws {KmsError} INVALID_ARGUMENT
   */
  decode({ ciphertext, keyId, annotations }: EnvelopeParts): ReceivedEnvelope {
    if (ciphertext[0] !== FORMAT) {
      throw invalid(
        ciphertext.length === 0
          ? 'ciphertext: empty'
          : `ciphertext: unknown format ${String(ciphertext[0])}; this version knows ${FORMAT}`,
      );
    }
    const sealedLength = ciphertext.length - 1;
    if (sealedLength <= NONCE_LENGTH + TAG_LENGTH)
      throw invalid(`ciphertext: ${ciphertext.length} bytes are too short`);
    if (sealedLength > NONCE_LENGTH + MAX_SEED_LENGTH + TAG_LENGTH)
      throw invalid(`ciphertext: ${ciphertext.length} bytes are too long`);
    const keyIdLength = Buffer.byteLength(keyId);
    if (keyIdLength === 0 || keyIdLength > MAX_KEY_ID_LENGTH)
      throw invalid(`key_id: ${keyIdLength} bytes, not 1 to ${MAX_KEY_ID_LENGTH}`);

    const annotation = annotations.get(ANNOTATION_NAME);
    if (annotation === undefined)
      throw invalid(`annotations: ${ANNOTATION_NAME} is missing; was this object encrypted by Sealwax?`);
    if (annotations.size !== 1) throw invalid(`annotations: ${annotations.size - 1} besides ${ANNOTATION_NAME}`);
    return { ...this.#decodeShared(annotation, keyId), sealedSeed: ciphertext.subarray(1) };
  }

  #decodeShared(annotation: Uint8Array, keyId: string): SharedPart {
    const last = this.#last;
    if (last?.keyId === keyId && Buffer.compare(last.shared.annotation, annotation) === 0) return last.shared;
    const bytes = Buffer.from(annotation.buffer, annotation.byteOffset, annotation.length);
    const id = bytes.toString('latin1');
    let kept = this.#kept.get(id);
    if (kept?.keyId !== keyId) {
      // From a copy, lest the whole request stay in memory.
      const annotated = kept?.shared ?? decodeAnnotation(Uint8Array.from(bytes), this.#cluster);
      kept = { keyId, shared: { ...annotated, aad: envelopeAad(annotated.annotation, keyId) } };
      this.#kept.set(id, kept);
    }
    this.#last = kept;
    return kept.shared;
  }
}
