import path from 'node:path';
import { LRUCache } from 'lru-cache';
import { atMost } from './at-most.js';
import { AnnotationFileError, readAnnotationFile, writeAnnotationFile } from './annotation-file.js';
import type { AnnotatedKey } from './envelope.js';

const FILE_NAME = 'remembered.json';
/** Changes within this time are written together. */
const WRITE_DELAY_MS = 1_000;
const RETRY_DELAY_MS = 30_000;

interface RememberedOptions {
  /** `state.path` of the config. */
  readonly directory: string;
  readonly cluster: string;
  /** How many are kept; the one used longest ago goes first. */
  readonly capacity: number;
  /** Something an operator has to look at. */
  readonly alarm: (text: string) => void;
}

/**
 * The annotations of the local keys that were sealed or successfully opened with, on disk, so that a restarted plugin can unwrap them before
 * the API server asks.
 *
 * There is no secret in them. Whoever writes to the file gains nothing: remembered local keys open and never seal. If it is missing, corrupt or
 * stale, that costs time and an alarm, never data.
 */
export class Remembered {
  readonly #file: string;
  readonly #cluster: string;
  readonly #alarm: (text: string) => void;
  readonly #annotations: LRUCache<string, AnnotatedKey>;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #dirty = false;
  #failing = false;

  private constructor({ directory, cluster, capacity, alarm }: RememberedOptions) {
    this.#file = path.join(directory, FILE_NAME);
    this.#cluster = cluster;
    this.#alarm = alarm;
    this.#annotations = new LRUCache(atMost(capacity));
  }

  static async open(options: RememberedOptions): Promise<Remembered> {
    const remembered = new Remembered(options);
    try {
      const content = await readAnnotationFile(remembered.#file, options.cluster);
      for (const annotated of content?.annotations ?? []) remembered.#put(annotated);
    } catch (error) {
      if (!(error instanceof AnnotationFileError)) throw error;
      options.alarm(
        `${error.message}. Local keys are unwrapped when they are needed, which costs time at the next start.`,
      );
    }
    return remembered;
  }

  /** Used last first. */
  get annotations(): readonly AnnotatedKey[] {
    return [...this.#annotations.values()];
  }

  get size(): number {
    return this.#annotations.size;
  }

  remember(annotated: AnnotatedKey): void {
    this.#put(annotated);
    this.#scheduleWrite(WRITE_DELAY_MS);
  }

  forget({ annotation }: AnnotatedKey): void {
    if (this.#annotations.delete(idOf(annotation))) this.#scheduleWrite(WRITE_DELAY_MS);
  }

  /** Writes what is not yet written. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    if (this.#dirty) this.#write();
    await this.#writing;
    clearTimeout(this.#timer);
  }

  #put({ annotation, commitment, cluster, records }: AnnotatedKey): void {
    const copy = Uint8Array.from(annotation);
    this.#annotations.set(idOf(copy), { annotation: copy, commitment, cluster, records });
  }

  #scheduleWrite(delayMs: number): void {
    this.#dirty = true;
    this.#timer ??= setTimeout(() => {
      this.#write();
    }, delayMs).unref();
  }

  #write(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#dirty = false;
    // Least recently used first, so that reading them in order restores the order of use.
    const annotations = this.annotations.map(({ annotation }) => annotation).reverse();
    this.#writing = this.#writing
      .then(() => writeAnnotationFile(this.#file, { annotations, numbers: {} }, this.#cluster))
      .then(
        () => {
          this.#failing = false;
        },
        (error: unknown) => {
          const reason = error instanceof Error ? error.message : String(error);
          if (!this.#failing) {
            this.#alarm(`cannot write ${this.#file}: ${reason}. Nothing is lost but time at the next start.`);
          }
          this.#failing = true;
          this.#scheduleWrite(RETRY_DELAY_MS);
        },
      );
  }
}

function idOf(annotation: Uint8Array): string {
  return Buffer.from(annotation.buffer, annotation.byteOffset, annotation.length).toString('latin1');
}

/**
 * The names of keys that remembered local keys need and that neither `configured` nor `retired` lists, with the number of local keys each.
 *
 * A local key needs a name when no configured key wraps it.
 */
export function missingKeys(
  annotations: readonly AnnotatedKey[],
  { configured, retired }: { readonly configured: ReadonlySet<string>; readonly retired: ReadonlySet<string> },
): ReadonlyMap<string, number> {
  const missing = new Map<string, number>();
  for (const { records } of annotations) {
    const names = records.map(({ keyName }) => keyName);
    if (names.some((name) => configured.has(name) || retired.has(name))) continue;
    for (const name of names) missing.set(name, (missing.get(name) ?? 0) + 1);
  }
  return missing;
}
