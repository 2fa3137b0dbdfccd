import { isBackendError, toBackendError } from './backend-error.js';
import { decodeAnnotation, type AnnotatedKey, type LocalKeyRecord } from './envelope.js';
import type { HeldKey, HeldKeys } from './held-keys.js';
import { KekWatch, type Sample } from './kek-watch.js';
import type { KeyLoop, RemoteLimits } from './key-loop.js';
import { troubleOf } from './policy.js';
import type { Remembered } from './remembered.js';
import { rescueLocalKeys } from './rescue-local-keys.js';
import type { Rescue } from './rescue.js';
import type { Snapshot } from './snapshot.js';
import { replaced } from './unwrap-local-key.js';

/** What makes the API server write everything anew, under the key id of today. */
export const REWRITE_COMMAND =
  'kubectl get secrets --all-namespaces -o json | kubectl replace -f -' +
  ' (and the same for each other resource that the EncryptionConfiguration names)';

interface KekGuardOptions {
  readonly cluster: string;
  /** In force now. */
  readonly limits: () => RemoteLimits & { readonly oldVersionsMs: number };
  readonly held: HeldKeys;
  readonly remembered: Remembered | undefined;
  readonly rescue: Rescue;
  /** The snapshots whose local keys are not held yet. */
  readonly snapshots: () => readonly Snapshot[];
  /** The keys that wrap new local keys. */
  readonly sealingLoops: () => readonly KeyLoop[];
  readonly alarm: (text: string) => void;
}

/** Probes the KEKs that wrapped what is in memory; when one is lost, pins what it wrapped and wraps it under the KEKs that work. */
export class KekGuard {
  readonly #options: KekGuardOptions;
  readonly #watch: KekWatch;
  /** Pinned, and not yet wrapped under a KEK that works. */
  #unrescued: readonly HeldKey[] = [];
  #rescuing: Promise<unknown> = Promise.resolve();

  constructor(options: KekGuardOptions) {
    this.#options = options;
    this.#watch = new KekWatch(options.limits);
  }

  /** What is known of each KEK. */
  get watch(): KekWatch {
    return this.#watch;
  }

  /** Whether what `loop` wrapped of `newest` cannot be unwrapped any more. */
  hasLost({ key }: KeyLoop, newest: Snapshot | undefined): boolean {
    const record = newest?.records.find(({ keyName }) => keyName === key.name);
    return record !== undefined && this.#watch.isLost(record.keyName, record.kekId);
  }

  /** One sentence for each lost KEK. */
  get losses(): readonly string[] {
    return this.#watch.lost.map(lossText);
  }

  /**
   * Unwraps a sample and draws no conclusion: for a key of a config that is not in force.
   *
   * @throws {BackendError} when it did not open, or as another local key
   */
  async tryOut(loop: KeyLoop, { record, commitment }: Sample): Promise<void> {
    const localKey = await loop.unwrap(record);
    const same = localKey.commitsTo(commitment);
    localKey.destroy();
    if (!same) throw replaced(loop);
  }

  /**
   * Unwraps a sample and keeps the verdict on its KEK.
   *
   * @throws {BackendError} when it did not open, or as another local key
   */
  async check(loop: KeyLoop, sample: Sample): Promise<void> {
    try {
      await this.tryOut(loop, sample);
      this.#watch.passed(sample, performance.now());
    } catch (error) {
      const isLoss = isBackendError(error) && troubleOf(error.code) === 'loss';
      if (!isLoss) this.#watch.postponed(sample, performance.now());
      else if (this.#watch.failed(sample, performance.now())) await this.#lose(sample.record);
      throw error;
    }
  }

  /** Probes the older KEK versions of a key whose KMS answers, as far as they are due, and rescues what could not be rescued before. */
  async tend(loop: KeyLoop): Promise<void> {
    for (const sample of this.#watch.due(loop.key.name, performance.now())) {
      await this.check(loop, sample).catch(() => {
        // Of an older version: `check` has drawn its conclusions, and the key is no worse for it.
      });
    }
    if (this.#unrescued.length === 0) return;
    const before = this.#unrescued.length;
    const outcome = await this.#rescueWhatIsPinned();
    if (this.#unrescued.length < before) this.#options.alarm(outcome);
  }

  /** Resolves when the rescue that is under way is on disk: what it wraps may have no other copy. */
  async rescued(): Promise<void> {
    await this.#rescuing;
  }

  async #lose(lost: LocalKeyRecord): Promise<void> {
    const { held, remembered, rescue, snapshots, cluster, alarm } = this.#options;
    // What an earlier loss made us wrap anew hangs on this KEK as well, though its annotation names another.
    const wraps = ({ commitment, records }: AnnotatedKey) =>
      [...records, ...rescue.recordsOf(commitment)].some(
        ({ keyName, kekId }) => keyName === lost.keyName && kekId === lost.kekId,
      );
    const endangered = [...held.entries(), ...snapshots()].filter(({ annotation }) =>
      wraps(decodeAnnotation(annotation, cluster)),
    );
    for (const { localKey, annotation } of endangered) held.pin({ localKey, annotation });
    for (const annotated of remembered?.annotations ?? []) {
      if (annotated.records.every(({ keyName, kekId }) => this.#watch.isLost(keyName, kekId))) {
        remembered?.forget(annotated);
      }
    }
    this.#unrescued = [...this.#unrescued, ...endangered];
    alarm(`${lossText(lost)}. Restart nothing before the local keys in memory are rescued.`);
    alarm(`${await this.#rescueWhatIsPinned()}. Rewrite the data: ${REWRITE_COMMAND}`);
  }

  /** What fails is tried again with each turn of a key that does well. */
  async #rescueWhatIsPinned(): Promise<string> {
    const { rescue, sealingLoops } = this.#options;
    const pinned = this.#unrescued;
    this.#unrescued = [];
    const rescuing = rescueLocalKeys(pinned, { loops: sealingLoops(), rescue }).catch((error: unknown) => ({
      rescued: 0,
      failed: pinned,
      reason: toBackendError(error, 'write the rescue file'),
    }));
    this.#rescuing = Promise.all([this.#rescuing, rescuing]);
    const { rescued, failed, reason } = await rescuing;
    this.#unrescued = [...this.#unrescued, ...failed];
    const why = reason?.message ?? 'no reason given';
    return [
      `${rescued} local keys in memory were wrapped under the KEKs that work`,
      ...(failed.length > 0 ? [`${failed.length} could not be, and end with this process (${why})`] : []),
      ...(rescue.isDurable ? [] : ['without state.path all of them end with this process']),
    ].join('; ');
  }
}

function lossText({ keyName, kekId }: LocalKeyRecord): string {
  return `key ${JSON.stringify(keyName)} cannot unwrap any more what ${kekId} wrapped: it was destroyed, or replaced beneath its name`;
}
