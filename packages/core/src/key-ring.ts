/**
 * Longer than other files: it is the only one that knows all the parts, and each of its methods says which part does what next.
 */
import { setMaxListeners } from 'node:events';
import { isDeepStrictEqual } from 'node:util';
import { ConfigError } from './config-error.js';
import { decodeAnnotation, type AnnotatedKey } from './envelope.js';
import { HeldKeys, type HeldKey } from './held-keys.js';
import { KekGuard } from './kek-guard.js';
import { KeyLoop, type LoopState } from './key-loop.js';
import { isSameKey, type Key } from './key.js';
import { KmsError } from './kms-error.js';
import type { LocalKey } from './local-key.js';
import type { Observer } from './observer.js';
import { isToBeWiped, refusedKeys, statusShape, troubleOf, type KeyHealth, type Shape } from './policy.js';
import { recall } from './recall.js';
import { missingKeys, type Remembered } from './remembered.js';
import { Renewal } from './renewal.js';
import type { Rescue } from './rescue.js';
import type { RingConfig } from './ring-config.js';
import { SnapshotPublisher, type Snapshot } from './snapshot.js';
import { standingAlarms } from './standing-alarms.js';
import { backendFailure, unwrapLocalKey } from './unwrap-local-key.js';

export interface KeyRingOptions extends RingConfig {
  readonly cluster: string;
  readonly observer: Observer;
  /** Absent without a state directory. */
  readonly remembered?: Remembered | undefined;
  readonly rescue: Rescue;
}

/** How a key does, as `LoopState`, and what the ring knows of it. */
export interface KeyState extends LoopState {
  /** For how long each answer to Encrypt has carried a record of this key, without a gap; `undefined` when the last one did not. */
  readonly carriedForMs: number | undefined;
  /** Since a Decrypt last needed this key; `undefined` when none did. */
  readonly neededMs: number | undefined;
  /** What it wrapped last cannot be unwrapped any more. */
  readonly lost: boolean;
}

/** Composes the loops of the keys, the snapshot that seals, the local keys that open, and what is kept on disk of them. */
export class KeyRing {
  readonly cluster: string;
  readonly #observer: Observer;
  readonly #remembered: Remembered | undefined;
  readonly #rescue: Rescue;
  readonly #publisher: SnapshotPublisher;
  readonly #held: HeldKeys;
  readonly #guard: KekGuard;
  readonly #renewal: Renewal;
  readonly #closing = new AbortController();
  readonly #publishedKeyIds = new Set<string>();
  readonly #carriedSinceMs = new Map<string, number>();
  readonly #neededAtMs = new Map<string, number>();
  #config: RingConfig;
  #loops: readonly KeyLoop[];
  #wiped = false;

  /**
   * Starts at once and returns at once; what is remote happens in the background.
   *
   * @throws {ConfigError} when a key that remembered local keys need is neither configured nor retired
   */
  constructor({ cluster, observer, remembered, rescue, ...config }: KeyRingOptions) {
    this.cluster = cluster;
    this.#observer = observer;
    this.#remembered = remembered;
    this.#rescue = rescue;
    this.#config = config;
    // As many Decrypts as may unwrap at the same time listen to it.
    setMaxListeners(0, this.#closing.signal);
    this.#refuseMissingKeys(config);
    this.#forgetRetired(config);
    const { limits } = config;
    const alarm = (text: string) => {
      observer.alarm(text);
    };
    this.#publisher = new SnapshotPublisher(config.publish, (snapshot, previous) => {
      this.#published(snapshot, previous);
    });
    this.#held = new HeldKeys({
      capacity: limits.heldLocalKeys,
      maxWaiting: limits.waitingDecrypts,
      unwrap: (annotated) => this.#unwrap(annotated),
    });
    this.#guard = new KekGuard({
      cluster,
      limits: () => this.#config.limits,
      held: this.#held,
      remembered,
      rescue,
      snapshots: () => this.#publisher.all,
      sealingLoops: () => this.#sealingLoops,
      alarm,
    });
    this.#renewal = new Renewal({
      cluster,
      publisher: this.#publisher,
      held: this.#held,
      guard: this.#guard,
      rescue,
      config: () => this.#config,
      sealingLoops: () => this.#sealingLoops,
      closing: this.#closing.signal,
      alarm,
    });
    this.#loops = config.keys.map((key) => this.#openLoop(key, limits));
    for (const loop of this.#loops) void loop.run();
    void this.#recall();
  }

  /** What Encrypt seals under now, `undefined` until the first local key was wrapped. */
  get snapshot(): Snapshot | undefined {
    return this.#publisher.current;
  }

  get keyStates(): readonly KeyState[] {
    const now = performance.now();
    const since = (atMs: number | undefined) => (atMs === undefined ? undefined : now - atMs);
    return this.#loops.map((loop) => ({
      ...loop.state,
      carriedForMs: since(this.#carriedSinceMs.get(loop.key.name)),
      neededMs: since(this.#neededAtMs.get(loop.key.name)),
      lost: this.#guard.hasLost(loop, this.#publisher.newest),
    }));
  }

  /** The shape of Status while there is something to seal under. */
  get shape(): Shape {
    return statusShape(this.#health(), this.#config.policy);
  }

  /** What an operator has to look at, for as long as he has to; one sentence each. */
  get standingAlarms(): readonly string[] {
    return standingAlarms({
      keyStates: this.keyStates,
      sealed: this.#publisher.current?.records,
      losses: this.#guard.losses,
      replacements: this.#rescue.replacements(this.#config.generation),
    });
  }

  /** How many local keys are in memory, those that seal included. */
  get heldLocalKeys(): number {
    return this.#held.size + this.#publisher.all.length;
  }

  /** How many local keys are remembered on disk. */
  get rememberedLocalKeys(): number {
    return this.#remembered?.size ?? 0;
  }

  /** How many local keys were wrapped anew because their KEK was lost. */
  get rescuedLocalKeys(): number {
    return this.#rescue.size;
  }

  /** How many Decrypts wait for a KMS. */
  get waitingDecrypts(): number {
    return this.#held.waiting;
  }

  /** Must be called with each answer to Status: a new snapshot waits for a pause between them. */
  statusAnswered(): void {
    this.#publisher.statusAnswered();
  }

  /** Must be called before the first answer to Encrypt under `snapshot`: what it carries is what the API server stores from now on. */
  sealsUnder({ records }: Snapshot): void {
    const now = performance.now();
    const carried = new Set(records.map(({ keyName }) => keyName));
    for (const name of this.#carriedSinceMs.keys()) if (!carried.has(name)) this.#carriedSinceMs.delete(name);
    for (const name of carried) if (!this.#carriedSinceMs.has(name)) this.#carriedSinceMs.set(name, now);
  }

  /** The local key with this commitment, if it is in memory. */
  find(commitment: Uint8Array): LocalKey | undefined {
    return this.#publisher.find(commitment) ?? this.#held.find(commitment);
  }

  /**
   * The local key of `annotated`, by a remote call.
   *
   * @throws {KmsError}
   */
  async obtain(annotated: AnnotatedKey, signal: AbortSignal): Promise<LocalKey> {
    return this.#held.obtain(annotated, signal);
  }

  /** A local key that `obtain` gave has opened an envelope: it is worth remembering. */
  opened(annotated: AnnotatedKey): void {
    this.#guard.watch.met(annotated.records, annotated.commitment);
    this.#remembered?.remember(annotated);
  }

  /**
   * Takes over another config: keys that are new or changed are opened and probed first, then all is swapped in one step. The old ones are closed
   * once what is in flight has been answered.
   *
   * @throws {ConfigError} saying why the old config stays in force
   */
  async reconfigure(config: RingConfig): Promise<void> {
    this.#refuseMissingKeys(config);
    const sameLimits = isDeepStrictEqual(config.limits, this.#config.limits);
    const added: KeyLoop[] = [];
    const loops = config.keys.map((key) => {
      const kept = sameLimits ? this.#loops.find((loop) => isSameKey(loop.key, key)) : undefined;
      if (kept !== undefined) return kept;
      const loop = this.#openLoop(key, config.limits);
      added.push(loop);
      void loop.run();
      return loop;
    });
    try {
      await Promise.all(added.map((loop) => this.#proveNewKey(loop, config)));
    } catch (error) {
      await Promise.all(added.map((loop) => loop.close()));
      throw error;
    }
    const removed = this.#loops.filter((loop) => !loops.includes(loop));
    for (const [index, loop] of loops.entries()) {
      const key = config.keys[index];
      if (key !== undefined) loop.changeRole(key);
    }
    this.#config = config;
    this.#loops = loops;
    this.#forgetRetired(config);
    this.#publisher.changeRule(config.publish);
    void this.#renewal.ifDue();
    void Promise.all(removed.map((loop) => loop.retire()));
  }

  /** Ends everything, its keys once a rescue that is under way is over. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#renewal.close();
    this.#publisher.close();
    await this.#guard.rescued();
    await Promise.all([...this.#loops.map((loop) => loop.close()), this.#remembered?.close()]);
    this.#held.clear();
  }

  get #sealingLoops(): readonly KeyLoop[] {
    return this.#loops.filter(({ key }) => key.role !== 'read');
  }

  #openLoop(key: Key, limits: RingConfig['limits']): KeyLoop {
    const loop: KeyLoop = new KeyLoop({
      key,
      limits,
      observer: this.#observer,
      duties: {
        probe: () => this.#probe(loop),
        tend: () => this.#tend(loop),
      },
    });
    return loop;
  }

  /** Unwraps what the key wrapped last. */
  async #probe(loop: KeyLoop): Promise<void> {
    const { name } = loop.key;
    const newest = this.#publisher.newest;
    const record = newest?.records.find(({ keyName }) => keyName === name);
    const sample =
      newest !== undefined && record !== undefined
        ? { record, commitment: newest.localKey.commitment }
        : this.#guard.watch.newestSampleOf(name);
    if (sample === undefined) return;
    // What a key of a config that is not in force cannot open is that config's fault, and no loss.
    if (!this.#loops.includes(loop)) return this.#guard.tryOut(loop, sample);
    try {
      await this.#guard.check(loop, sample);
    } finally {
      this.#wipeWhatIsRefused();
    }
  }

  /** After each good reading of a KEK id: looks at older versions too, and seals under the new one if there is one. */
  async #tend(loop: KeyLoop): Promise<void> {
    // A key of a config that is not yet in force.
    if (!this.#loops.includes(loop)) return;
    await this.#guard.tend(loop);
    const failure = (await this.#renewal.ifDue(loop)).get(loop);
    if (failure !== undefined) throw failure;
  }

  #published(snapshot: Snapshot, previous: Snapshot | undefined): void {
    const { keyId, annotation, records } = snapshot;
    // Where its KEK is lost it is pinned already, and stays so.
    if (previous !== undefined) this.#held.hold({ localKey: previous.localKey, annotation: previous.annotation });
    this.#remembered?.remember(this.#decode(annotation));
    this.#observer.published(keyId, {
      previousKeyId: previous?.keyId,
      annotationLength: annotation.length,
      records: records.map(({ keyName, kekId }) => ({ keyName, kekId })),
    });
    if (previous !== undefined && previous.keyId !== keyId && this.#publishedKeyIds.has(keyId)) {
      this.#observer.alarm(
        `key id ${keyId} is reported again after ${previous.keyId}: the KMS went back to an earlier KEK version. ` +
          'Raise "generation" in the config on all nodes if data has to be rewritten.',
      );
    }
    this.#publishedKeyIds.add(keyId);
  }

  async #unwrap(annotated: AnnotatedKey): Promise<LocalKey> {
    const loops = this.#loops;
    const rescued = this.#rescue.recordsOf(annotated.commitment);
    try {
      const { localKey, by, record } = await unwrapLocalKey(annotated, { loops, rescued });
      this.#neededAtMs.set(by.key.name, performance.now());
      // Of the other records nothing is known until the envelope has opened: somebody may have put anything there.
      this.#guard.watch.met([record], annotated.commitment);
      return localKey;
    } catch (error) {
      // A reload came in between, and may have closed what was to be asked next.
      if (loops !== this.#loops) return this.#unwrap(annotated);
      throw error;
    }
  }

  async #recall(): Promise<void> {
    if (this.#remembered === undefined) return;
    const unopened = new Map<string, number>();
    await recall(
      // What was rescued first: were its KEK lost too, only what is in memory could be rescued again.
      [...this.#rescue.annotations, ...this.#remembered.annotations].slice(0, this.#config.limits.heldLocalKeys),
      {
        concurrency: this.#config.limits.unwrapConcurrency,
        unwrap: async (annotated) => {
          if (this.find(annotated.commitment) !== undefined) return 'done';
          try {
            await this.#held.obtain(annotated, this.#closing.signal);
            // It had opened an envelope when it was remembered.
            this.#guard.watch.met(annotated.records, annotated.commitment);
            return 'done';
          } catch (error) {
            const failure = backendFailure(error);
            // No configured key wrapped it: those that did are retired.
            if (failure === undefined && error instanceof KmsError && error.code === 'FAILED_PRECONDITION')
              return 'done';
            if (failure === undefined || troubleOf(failure.code) !== 'loss') return 'later';
            for (const record of annotated.records) {
              const place = `key ${JSON.stringify(record.keyName)}, KEK id ${record.kekId}`;
              unopened.set(place, (unopened.get(place) ?? 0) + 1);
              this.#guard.watch.suspect({ record, commitment: annotated.commitment }, performance.now());
            }
            return 'done';
          }
        },
      },
      this.#closing.signal,
    );
    for (const [place, count] of unopened) {
      this.#observer.alarm(
        `${count} remembered local keys do not open with ${place}: that KEK version was destroyed, or another key stands under that name`,
      );
    }
  }

  /** Destroys what only keys open whose refusal is old enough, if the config says so. */
  #wipeWhatIsRefused(): void {
    const refused = refusedKeys(this.#health(), this.#config.policy);
    if (refused.size === 0) {
      this.#wiped = false;
      return;
    }
    const configured = new Set(this.#loops.map(({ key }) => key.name));
    const isForfeit = ({ annotation }: HeldKey) => {
      const { commitment, records } = this.#decode(annotation);
      // What no KEK opens any more is the last copy, and no refusal is meant for it.
      const opening = [...records, ...this.#rescue.recordsOf(commitment)].filter(
        ({ keyName, kekId }) => !this.#guard.watch.isLost(keyName, kekId),
      );
      return isToBeWiped(
        opening.map(({ keyName }) => keyName),
        { refused, configured },
      );
    };
    const held = [...this.#held.entries()].filter(isForfeit);
    for (const each of held) this.#held.wipe(each);
    const { all } = this.#publisher;
    const sealing = all.filter(isForfeit);
    if (sealing.length > 0) this.#publisher.withdraw();
    for (const snapshot of all) {
      if (sealing.includes(snapshot)) snapshot.localKey.destroy();
      else if (sealing.length > 0) this.#held.hold(snapshot);
    }
    if (!this.#wiped && held.length + sealing.length > 0) {
      const names = [...refused].map((name) => JSON.stringify(name)).join(', ');
      this.#observer.alarm(
        `refused by the KMS of key ${names}: ${held.length + sealing.length} local keys were destroyed`,
      );
      this.#wiped = true;
    }
  }

  #health(): readonly KeyHealth[] {
    return this.#loops.map((loop) => {
      const { outForMs, refusedForMs } = loop.state;
      return {
        name: loop.key.name,
        seals: loop.key.role !== 'read',
        writes: loop.key.role === 'write',
        outForMs,
        refusedForMs,
        lost: this.#guard.hasLost(loop, this.#publisher.newest),
      };
    });
  }

  /** Resolves when a key of a config that is not yet in force has had one good turn. */
  async #proveNewKey(loop: KeyLoop, { keys }: RingConfig): Promise<void> {
    const failure = await loop.firstTurn;
    if (failure === undefined) return;
    const path = `keys[${keys.findIndex(({ name }) => name === loop.key.name)}]`;
    const isOther = troubleOf(failure.code) === 'loss' && this.#loops.some(({ key }) => key.name === loop.key.name);
    const hint = isOther ? '; is it another key than before? Then give it another name' : '';
    throw new ConfigError(path, `${failure.message}${hint}`, { cause: failure });
  }

  /** Refuses a config without a key that remembered local keys need. */
  #refuseMissingKeys({ keys, retired }: RingConfig): void {
    if (this.#remembered === undefined) return;
    const configured = new Set(keys.map(({ name }) => name));
    const missing = missingKeys(this.#remembered.annotations, { configured, retired: new Set(retired) });
    const [first] = missing;
    if (first === undefined) return;
    const [name, count] = first;
    throw new ConfigError(
      'keys',
      `${count} remembered local keys were wrapped by key ${JSON.stringify(name)}, which is not configured: ` +
        'put it back with "role: read", or list it under "retired" once no data needs it',
    );
  }

  /** Forgets what only retired keys could open; not before the config that retires them is in force. */
  #forgetRetired({ keys }: RingConfig): void {
    const configured = new Set(keys.map(({ name }) => name));
    for (const annotated of this.#remembered?.annotations ?? []) {
      if (!annotated.records.some(({ keyName }) => configured.has(keyName))) this.#remembered?.forget(annotated);
    }
  }

  #decode(annotation: Uint8Array): AnnotatedKey {
    return decodeAnnotation(annotation, this.cluster);
  }
}
