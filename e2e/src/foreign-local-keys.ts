import { randomBytes } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { openBackend, type Harness } from '@sealwax/core/conformance';
import { seal, type StoredRecord } from './envelope-format-1.js';
import type { Sealed } from './kms-wire.js';

const keyLengthBytes = 32;
const atATime = 16;

interface WrappedLocalKey {
  readonly localKey: Uint8Array;
  readonly records: readonly StoredRecord[];
}

/** Local keys that the plugin under test did not make: those of other nodes and of starts long past. */
export class ForeignLocalKeys {
  readonly #keyId: string;
  readonly #wrapped: readonly WrappedLocalKey[];

  private constructor(keyId: string, wrapped: readonly WrappedLocalKey[]) {
    this.#keyId = keyId;
    this.#wrapped = wrapped;
  }

  /**
   * Makes `count` local keys, each wrapped by the KMS behind `harness`.
   *
   * @param options.keyName - of the key in the plugin's config
   * @param options.keyId - under which the envelopes are
   */
  static async wrap(
    harness: Pick<Harness, 'module' | 'config'>,
    { count, keyName, keyId }: { readonly count: number; readonly keyName: string; readonly keyId: string },
  ): Promise<ForeignLocalKeys> {
    const opened = await openBackend(harness);
    const { signal } = new AbortController();
    setMaxListeners(atATime, signal);
    const wrapped: WrappedLocalKey[] = [];
    const work = async (): Promise<void> => {
      while (wrapped.length < count) {
        const localKey = randomBytes(keyLengthBytes);
        const place = wrapped.push({ localKey, records: [] }) - 1;
        const record = await opened.backend.wrap(Uint8Array.from(localKey), signal);
        wrapped[place] = { localKey, records: [{ keyName, ...record }] };
      }
    };
    await Promise.all(Array.from({ length: atATime }, work));
    await opened.end();
    return new ForeignLocalKeys(keyId, wrapped);
  }

  /** What the KMS made of the local key number `index`. */
  ciphertext(index: number): Uint8Array {
    const [record] = this.#wrapped[index]?.records ?? [];
    if (record === undefined) throw new RangeError(`no local key ${index}`);
    return record.ciphertext;
  }

  /** What the node that made the local key number `index` would have answered to Encrypt; beyond the last one they are used again. */
  seal(index: number, seed: Uint8Array): Sealed {
    const wrapped = this.#wrapped[index % this.#wrapped.length];
    if (wrapped === undefined) throw new RangeError('no local keys');
    return seal(seed, { ...wrapped, keyId: this.#keyId, cluster: 'e2e' });
  }
}
