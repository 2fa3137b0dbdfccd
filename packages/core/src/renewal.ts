import type { BackendError } from './backend-error.js';
import type { HeldKeys } from './held-keys.js';
import type { KekGuard } from './kek-guard.js';
import type { KeyLoop } from './key-loop.js';
import type { Rescue } from './rescue.js';
import type { RingConfig } from './ring-config.js';
import { keyIdOf, sealUnder } from './seal-under.js';
import { membersToSealUnder } from './sealing-set.js';
import type { Snapshot, SnapshotPublisher } from './snapshot.js';

interface RenewalOptions {
  readonly cluster: string;
  readonly publisher: SnapshotPublisher;
  readonly held: HeldKeys;
  readonly guard: KekGuard;
  readonly rescue: Rescue;
  /** In force now. */
  readonly config: () => RingConfig;
  /** The keys that wrap new local keys. */
  readonly sealingLoops: () => readonly KeyLoop[];
  readonly closing: AbortSignal;
  readonly alarm: (text: string) => void;
}

/** Decides when a new local key is to be made and under which keys, makes it, and offers it for publication. */
export class Renewal {
  readonly #options: RenewalOptions;
  readonly #startedAtMs = performance.now();
  /** Keys whose KMS has just answered, though their turn is not over. */
  readonly #turning = new Set<KeyLoop>();
  #startTimer: NodeJS.Timeout | undefined;
  #renewing: Promise<unknown> = Promise.resolve();

  constructor(options: RenewalOptions) {
    this.#options = options;
    this.#renewAtStart();
  }

  /**
   * Makes a new local key when the set of keys, a KEK or the config asks for it, and offers it for publication. One at a time.
   *
   * @param turning - the key whose turn this is: its KMS has just answered, though the turn is not over
   * @returns the keys that failed to wrap; each is failing from now on
   */
  async ifDue(turning?: KeyLoop): Promise<ReadonlyMap<KeyLoop, BackendError>> {
    if (turning !== undefined) this.#turning.add(turning);
    const renewal = this.#renewing.then(() => this.#renew());
    this.#renewing = renewal;
    try {
      return await renewal;
    } finally {
      if (turning !== undefined) this.#turning.delete(turning);
    }
  }

  close(): void {
    clearTimeout(this.#startTimer);
  }

  /** Once the start has lasted long enough to do without a key that is away. A timer alone would not do: it may fire a little early. */
  #renewAtStart(): void {
    const leftMs = this.#options.config().publish.startMs - (performance.now() - this.#startedAtMs);
    if (leftMs <= 0) void this.ifDue();
    else
      this.#startTimer = setTimeout(() => {
        this.#renewAtStart();
      }, Math.ceil(leftMs));
  }

  async #renew(): Promise<ReadonlyMap<KeyLoop, BackendError>> {
    const failures = new Map<KeyLoop, BackendError>();
    while (!this.#options.closing.aborted) {
      const members = this.#membersToSealUnder((loop) => !failures.has(loop) && this.#mayWrap(loop));
      if (members.length === 0) break;
      const sealing = await sealUnder(members, this.#options.cluster);
      if ('failures' in sealing) {
        for (const [loop, failure] of sealing.failures) {
          failures.set(loop, failure);
          loop.noteFailure(failure);
        }
        continue;
      }
      const { localKey, records, annotation } = sealing;
      const replacedKek = records.find(({ keyName, kekId }) => this.#options.guard.watch.isLost(keyName, kekId));
      if (replacedKek !== undefined) await this.#countReplacement();
      for (const record of records) this.#options.guard.watch.proved(record, localKey.commitment);
      this.#offer({ keyId: this.#keyIdOf(records), localKey, records, annotation });
      break;
    }
    return failures;
  }

  #offer(snapshot: Snapshot): void {
    if (this.#options.closing.aborted) {
      snapshot.localKey.destroy();
      return;
    }
    const displaced = this.#options.publisher.offer(snapshot)?.localKey;
    // Where its KEK was lost in the meantime it is pinned, and about to be rescued.
    if (displaced !== undefined && this.#options.held.find(displaced.commitment) === undefined) displaced.destroy();
  }

  async #countReplacement(): Promise<void> {
    try {
      await this.#options.rescue.countReplacement(this.#options.config().generation);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#options.alarm(`cannot write the rescue file: ${reason}. After a restart the key id would be the old one.`);
    }
  }

  /** A key whose last record is lost may still wrap: under its next version, or under what was put in the place of the old one. */
  #mayWrap(loop: KeyLoop): boolean {
    return (
      loop.kekId !== undefined &&
      (loop.isReady || this.#turning.has(loop) || this.#options.guard.hasLost(loop, this.#options.publisher.newest))
    );
  }

  #membersToSealUnder(mayWrap: (loop: KeyLoop) => boolean): readonly KeyLoop[] {
    const newest = this.#options.publisher.newest;
    const loops = this.#options.sealingLoops();
    const candidates = loops.map((loop) => ({
      name: loop.key.name,
      required: loop.key.required,
      ready: mayWrap(loop),
      kekId: loop.kekId,
    }));
    const names = membersToSealUnder(
      candidates,
      {
        sealed: newest?.records,
        stale: newest !== undefined && newest.keyId !== this.#keyIdOf(newest.records),
        lost: newest?.records.some(({ keyName, kekId }) => this.#options.guard.watch.isLost(keyName, kekId)) ?? false,
        sinceStartMs: performance.now() - this.#startedAtMs,
        completeForMs: loops.every(({ isReady }) => isReady)
          ? Math.min(...loops.map(({ state }) => state.forMs))
          : undefined,
      },
      this.#options.config().publish,
    );
    return loops.filter(({ key }) => names.includes(key.name));
  }

  #keyIdOf(records: Snapshot['records']): string {
    const { generation, keys } = this.#options.config();
    return keyIdOf(records, {
      cluster: this.#options.cluster,
      generation,
      writer: keys.find(({ role }) => role === 'write')?.name ?? '',
      replacements: this.#options.rescue.replacements(generation),
    });
  }
}
