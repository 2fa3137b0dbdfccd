import { BackendError, isBackendError } from './backend-error.js';
import { encodeAnnotation, FORMAT, type LocalKeyRecord, type ReceivedEnvelope } from './envelope.js';
import { HeldKeys } from './held-keys.js';
import { computeKeyId } from './key-id.js';
import { KeyLoop, type Key, type KeyState, type RemoteLimits } from './key-loop.js';
import { KMS_CODE_OF, KmsError } from './kms-error.js';
import { LocalKey } from './local-key.js';
import type { Observer } from './observer.js';
import { SnapshotPublisher, type PublishRule, type Snapshot } from './snapshot.js';

export interface KeyRingOptions {
  readonly cluster: string;
  readonly generation: number;
  /** The key that wraps each new local key. */
  readonly key: Key;
  readonly limits: RemoteLimits & {
    readonly heldLocalKeys: number;
    readonly waitingDecrypts: number;
  };
  readonly publish: PublishRule;
  readonly observer: Observer;
}

/** Composes the loops of the keys, the snapshot that seals and the local keys that open. */
export class KeyRing {
  readonly cluster: string;
  readonly #generation: number;
  readonly #observer: Observer;
  readonly #publisher: SnapshotPublisher;
  readonly #held: HeldKeys;
  readonly #writer: KeyLoop;
  readonly #publishedKeyIds = new Set<string>();

  /** Starts at once and returns at once; what is remote happens in the background. */
  constructor({ cluster, generation, key, limits, publish, observer }: KeyRingOptions) {
    this.cluster = cluster;
    this.#generation = generation;
    this.#observer = observer;
    this.#publisher = new SnapshotPublisher(publish, (snapshot, previous) => {
      this.#published(snapshot, previous);
    });
    this.#held = new HeldKeys({
      capacity: limits.heldLocalKeys,
      maxWaiting: limits.waitingDecrypts,
      unwrap: (envelope) => this.#unwrap(envelope),
    });
    this.#writer = new KeyLoop({ key, limits, observer, duty: () => this.#tend() });
    void this.#writer.run();
  }

  /** What Encrypt seals under now, `undefined` until the first local key was wrapped. */
  get snapshot(): Snapshot | undefined {
    return this.#publisher.current;
  }

  get keyStates(): readonly KeyState[] {
    return [this.#writer.state];
  }

  /** How many local keys are in memory, those that seal included. */
  get heldLocalKeys(): number {
    return (
      this.#held.size +
      new Set([this.#publisher.current, this.#publisher.newest]).size -
      Number(this.#publisher.current === undefined)
    );
  }

  /** How many Decrypts wait for a KMS. */
  get waitingDecrypts(): number {
    return this.#held.waiting;
  }

  /** Must be called with each answer to Status: a new snapshot waits for a pause between them. */
  statusAnswered(): void {
    this.#publisher.statusAnswered();
  }

  /** The local key with this commitment, if it is in memory. */
  find(commitment: Uint8Array): LocalKey | undefined {
    const sealing = [this.#publisher.current, this.#publisher.newest].find((snapshot) =>
      snapshot?.localKey.commitsTo(commitment),
    );
    return sealing?.localKey ?? this.#held.find(commitment);
  }

  /**
   * The local key of `envelope`, by a remote call.
   *
   * @throws {KmsError}
   */
  async obtain(envelope: ReceivedEnvelope, signal: AbortSignal): Promise<LocalKey> {
    return this.#held.obtain(envelope, signal);
  }

  async close(): Promise<void> {
    this.#publisher.close();
    await this.#writer.close();
    this.#held.clear();
  }

  /** After each good reading of the KEK id: seal under it if it is new, else see whether what was wrapped still unwraps. */
  async #tend(): Promise<void> {
    const newest = this.#publisher.newest;
    const record = newest?.records.find(({ keyName }) => keyName === this.#writer.key.name);
    if (newest === undefined || record === undefined || record.kekId !== this.#writer.kekId) {
      await this.#renew();
      return;
    }
    const unwrapped = await this.#writer.unwrap(record);
    const same = unwrapped.equals(newest.localKey);
    unwrapped.destroy();
    if (!same) throw this.#replaced(this.#writer.key);
  }

  /** Makes a new local key, wraps it and offers it for publication. */
  async #renew(): Promise<void> {
    const localKey = LocalKey.generate();
    const records: readonly LocalKeyRecord[] = [await this.#writer.wrap(localKey)];
    const keyId = computeKeyId({
      format: FORMAT,
      cluster: this.cluster,
      generation: this.#generation,
      writer: this.#writer.key.name,
      records,
    });
    let annotation: Uint8Array;
    try {
      annotation = encodeAnnotation({ commitment: localKey.commitment, cluster: this.cluster, records });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new BackendError(
        'internal',
        `${this.#writer.key.backendName}: wrap: the envelope cannot hold the answer: ${reason}`,
      );
    }
    this.#publisher.offer({ keyId, localKey, records, annotation });
  }

  #published(snapshot: Snapshot, previous: Snapshot | undefined): void {
    if (previous !== undefined) this.#held.hold(previous.localKey);
    this.#observer.published(snapshot.keyId, {
      previousKeyId: previous?.keyId,
      annotationLength: snapshot.annotation.length,
    });
    if (previous !== undefined && previous.keyId !== snapshot.keyId && this.#publishedKeyIds.has(snapshot.keyId)) {
      this.#observer.alarm(
        `key id ${snapshot.keyId} is reported again after ${previous.keyId}: the KMS went back to an earlier KEK version. ` +
          'Raise "generation" in the config on all nodes if data has to be rewritten.',
      );
    }
    this.#publishedKeyIds.add(snapshot.keyId);
  }

  async #unwrap(envelope: ReceivedEnvelope): Promise<LocalKey> {
    const { key } = this.#writer;
    const record = envelope.records.find(({ keyName }) => keyName === key.name);
    if (record === undefined) {
      const names = envelope.records.map(({ keyName }) => JSON.stringify(keyName)).join(', ');
      throw new KmsError(
        'FAILED_PRECONDITION',
        `wrapped by key ${names}, and the config names only ${JSON.stringify(key.name)}`,
      );
    }
    try {
      const localKey = await this.#writer.unwrap(record);
      if (localKey.commitsTo(envelope.commitment)) return localKey;
      localKey.destroy();
      throw this.#replaced(key);
    } catch (error) {
      if (!isBackendError(error)) throw error;
      throw new KmsError(KMS_CODE_OF[error.code], `key ${JSON.stringify(key.name)}: ${error.message}`, {
        cause: error,
      });
    }
  }

  #replaced({ backendName }: Key): BackendError {
    return new BackendError(
      'invalid-ciphertext',
      `${backendName}: unwrap returned another local key than the one that sealed`,
    );
  }
}
