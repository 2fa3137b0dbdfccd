import { Annotation } from './gen/sealwax/envelope/v1/annotation.js';
import { KmsError } from './kms-error.js';
import { lengthPrefixed } from './length-prefixed.js';

/**
 * Envelope format 1: what Encrypt returns and Decrypt takes. docs/envelope.md specifies it byte by byte.
 * Frozen by test vectors; format 1 must open for ever.
 */

/** First byte of a ciphertext. */
export const FORMAT = 0x01;
/** The one annotation. The API server demands a fully qualified domain name; `.internal` is reserved for names that nobody registers. */
export const ANNOTATION_NAME = 'envelope.sealwax.internal';
export const NONCE_LENGTH = 12;
export const TAG_LENGTH = 16;
export const COMMITMENT_LENGTH = 32;
/** The API server's limit on a ciphertext (k8s.io/apiserver storage/value/encrypt/envelope/kmsv2/envelope.go), less what we add. */
export const MAX_SEED_LENGTH = 1024 - 1 - NONCE_LENGTH - TAG_LENGTH;

const MAX_RECORDS = 8;
const MAX_ANNOTATION_LENGTH = 4096;
const MAX_NAME_LENGTH = 512;
const NO_NAME = `not 1 to ${MAX_NAME_LENGTH} bytes of UTF-8 without control characters`;

/** One wrapped copy of a local key. */
export interface LocalKeyRecord {
  readonly keyName: string;
  readonly kekId: string;
  readonly ciphertext: Uint8Array;
}

/** What the annotation says. */
export interface Envelope {
  readonly commitment: Uint8Array;
  readonly cluster: string;
  readonly records: readonly LocalKeyRecord[];
}

/** What an annotation says, together with its bytes: they identify the local key together with its records. */
export interface AnnotatedKey extends Envelope {
  readonly annotation: Uint8Array;
}

/** The arguments of Decrypt. */
export interface EnvelopeParts {
  readonly ciphertext: Uint8Array;
  readonly keyId: string;
  readonly annotations: ReadonlyMap<string, Uint8Array>;
}

/**
 * The annotation's bytes.
 *
 * @throws {RangeError} when a field breaks a limit of the format: such an envelope must never be sealed, it would not open
 */
export function encodeAnnotation({ commitment, cluster, records }: Envelope): Uint8Array {
  const sorted = records.toSorted((a, b) => compareNames(a.keyName, b.keyName));
  const annotation = Annotation.encode({
    commitment,
    cluster,
    records: sorted.map((record) => ({ ...record })),
  }).finish();
  const fault = faultOf({ commitment, cluster, records: sorted }, annotation);
  if (fault !== undefined) throw new RangeError(fault);
  return annotation;
}

/** What the AEAD binds and does not store: format, annotation and key id, each behind its length. */
export function envelopeAad(annotation: Uint8Array, keyId: string): Uint8Array {
  return lengthPrefixed([Uint8Array.of(FORMAT), annotation, Buffer.from(keyId)]);
}

/** The ciphertext of Encrypt: format byte ‖ nonce ‖ sealed seed ‖ tag. */
export function encodeCiphertext(sealedSeed: Uint8Array): Uint8Array {
  const ciphertext = new Uint8Array(1 + sealedSeed.length);
  ciphertext[0] = FORMAT;
  ciphertext.set(sealedSeed, 1);
  return ciphertext;
}

/**
 * What `annotation` says, if `encodeAnnotation` could have made it.
 *
 * @param cluster - ours; another is refused
 * @throws {KmsError} INVALID_ARGUMENT
 */
export function decodeAnnotation(annotation: Uint8Array, cluster: string): AnnotatedKey {
  if (annotation.length > MAX_ANNOTATION_LENGTH)
    throw invalid(`annotation: ${annotation.length} bytes, more than ${MAX_ANNOTATION_LENGTH}`);
  const envelope = parseAnnotation(annotation);
  const fault = faultOf(envelope, annotation);
  if (fault !== undefined) throw invalid(`annotation: ${fault}`);
  if (envelope.cluster !== cluster)
    throw invalid(
      `annotation: sealed for cluster ${JSON.stringify(envelope.cluster)}, this is ${JSON.stringify(cluster)}`,
    );
  return { ...envelope, annotation };
}

function parseAnnotation(annotation: Uint8Array): Envelope {
  let envelope: Annotation;
  try {
    envelope = Annotation.decode(annotation);
  } catch (error) {
    throw invalid('annotation: not a protobuf message', error);
  }
  // One encoding per meaning: unknown fields, other field orders, long varints and bad UTF-8 all come back as other bytes.
  if (!Buffer.from(annotation).equals(Annotation.encode(envelope).finish()))
    throw invalid('annotation: not in canonical encoding');
  return envelope;
}

/** What breaks the format's limits, or `undefined`. */
function faultOf({ commitment, cluster, records }: Envelope, annotation: Uint8Array): string | undefined {
  if (annotation.length > MAX_ANNOTATION_LENGTH)
    return `${annotation.length} bytes, more than ${MAX_ANNOTATION_LENGTH}`;
  if (commitment.length !== COMMITMENT_LENGTH)
    return `commitment: ${commitment.length} bytes, not ${COMMITMENT_LENGTH}`;
  if (!isPublicName(cluster)) return `cluster: ${NO_NAME}`;
  if (records.length === 0) return 'no record';
  if (records.length > MAX_RECORDS) return `${records.length} records, more than ${MAX_RECORDS}`;
  for (const [index, { keyName, kekId, ciphertext }] of records.entries()) {
    const previous = records[index - 1];
    if (!isPublicName(keyName)) return `record ${index}: key name: ${NO_NAME}`;
    if (previous !== undefined && compareNames(previous.keyName, keyName) >= 0)
      return `record ${index}: key names do not ascend`;
    if (!isPublicName(kekId)) return `record ${index}: KEK id: ${NO_NAME}`;
    if (ciphertext.length === 0) return `record ${index}: no ciphertext`;
  }
  return undefined;
}

/** Whether `name` is 1 to 512 bytes of UTF-8 without control characters, as every name in an envelope must be: it ends up in logs. */
export function isPublicName(name: unknown): name is string {
  return (
    typeof name === 'string' &&
    name.isWellFormed() &&
    name !== '' &&
    Buffer.byteLength(name) <= MAX_NAME_LENGTH &&
    !/\p{Cc}/u.test(name)
  );
}

/** Orders names by their UTF-8 bytes, which every language can do; JavaScript's `<` compares UTF-16. */
export function compareNames(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

export function invalid(reason: string, cause?: unknown): KmsError {
  return new KmsError('INVALID_ARGUMENT', reason, { cause });
}
