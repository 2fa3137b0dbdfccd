import path from 'node:path';
import { AnnotationFileError, readAnnotationFile, writeAnnotationFile } from './annotation-file.js';
import { decodeAnnotation, encodeAnnotation, type AnnotatedKey, type LocalKeyRecord } from './envelope.js';

const FILE_NAME = 'rescue.json';

interface RescueOptions {
  /** `state.path` of the config; `undefined` keeps nothing beyond this process. */
  readonly directory: string | undefined;
  readonly cluster: string;
  readonly alarm: (text: string) => void;
}

/**
 * Local keys whose KEK was lost, wrapped anew under KEKs that work, and how often a KEK was replaced beneath its name.
 *
 * Decrypt reads it; nothing removes anything from it. Whoever writes to the file gains nothing: a record counts only if it unwraps to the local
 * key that the commitment names.
 */
export class Rescue {
  readonly #file: string | undefined;
  readonly #cluster: string;
  readonly #records = new Map<string, AnnotatedKey>();
  /** The generation in which the KEK was replaced, and how often since. */
  #generation = 0;
  #replacements = 0;
  #writing: Promise<void> = Promise.resolve();

  private constructor({ directory, cluster }: RescueOptions) {
    this.#file = directory === undefined ? undefined : path.join(directory, FILE_NAME);
    this.#cluster = cluster;
  }

  static async open(options: RescueOptions): Promise<Rescue> {
    const rescue = new Rescue(options);
    if (rescue.#file === undefined) return rescue;
    try {
      const content = await readAnnotationFile(rescue.#file, options.cluster);
      for (const annotated of content?.annotations ?? []) rescue.#records.set(idOf(annotated.commitment), annotated);
      rescue.#generation = content?.numbers['generation'] ?? 0;
      rescue.#replacements = content?.numbers['replacements'] ?? 0;
    } catch (error) {
      if (!(error instanceof AnnotationFileError)) throw error;
      options.alarm(`${error.message}. What was rescued opens only as far as its own KEKs do: restore the file.`);
    }
    return rescue;
  }

  /** Whether what is rescued survives this process. */
  get isDurable(): boolean {
    return this.#file !== undefined;
  }

  get size(): number {
    return this.#records.size;
  }

  /** The local keys, each with the records that open it. */
  get annotations(): readonly AnnotatedKey[] {
    return [...this.#records.values()];
  }

  has(commitment: Uint8Array): boolean {
    return this.#records.has(idOf(commitment));
  }

  /** Records that open the local key besides those of its own annotation. */
  recordsOf(commitment: Uint8Array): readonly LocalKeyRecord[] {
    return this.#records.get(idOf(commitment))?.records ?? [];
  }

  /** How often a KEK was replaced beneath its name since `generation` was raised last; the key id carries it. */
  replacements(generation: number): number {
    return generation > this.#generation ? 0 : this.#replacements;
  }

  /**
   * Adds local keys with the records that open them from now on; on disk when the promise resolves.
   *
   * What an earlier rescue wrapped under keys that are away now is kept: it may be what opens next time.
   */
  async add(
    localKeys: readonly { readonly commitment: Uint8Array; readonly records: readonly LocalKeyRecord[] }[],
  ): Promise<void> {
    for (const { commitment, records } of localKeys) {
      // Through the codec and back, so that nothing is kept which could not be read again.
      const renewed = new Set(records.map(({ keyName }) => keyName));
      const kept = this.recordsOf(commitment).filter(({ keyName }) => !renewed.has(keyName));
      const annotation = this.#encode(commitment, records, kept);
      this.#records.set(idOf(commitment), decodeAnnotation(annotation, this.#cluster));
    }
    await this.#write();
  }

  /** Takes note that a KEK was replaced beneath its name: the key id changes by it. */
  async countReplacement(generation: number): Promise<void> {
    this.#replacements = this.replacements(generation) + 1;
    this.#generation = generation;
    await this.#write();
  }

  #encode(commitment: Uint8Array, records: readonly LocalKeyRecord[], kept: readonly LocalKeyRecord[]): Uint8Array {
    const cluster = this.#cluster;
    try {
      return encodeAnnotation({ commitment, cluster, records: [...records, ...kept] });
    } catch (error) {
      // More than an annotation holds: what works today goes first.
      if (!(error instanceof RangeError) || kept.length === 0) throw error;
      return encodeAnnotation({ commitment, cluster, records });
    }
  }

  /** One write after the other, each of all there is when it begins: an older content must never take the place of a newer one. */
  async #write(): Promise<void> {
    const file = this.#file;
    if (file === undefined) return;
    const written = this.#writing.then(() => {
      const annotations = [...this.#records.values()].map(encodeAnnotation);
      const numbers = { generation: this.#generation, replacements: this.#replacements };
      return writeAnnotationFile(file, { annotations, numbers }, this.#cluster);
    });
    this.#writing = written.catch(() => undefined);
    await written;
  }
}

function idOf(commitment: Uint8Array): string {
  return Buffer.from(commitment).toString('hex');
}
