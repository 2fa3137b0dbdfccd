import { BackendError, toBackendError } from './backend-error.js';
import { encodeAnnotation, FORMAT, type LocalKeyRecord } from './envelope.js';
import { computeKeyId } from './key-id.js';
import type { KeyLoop } from './key-loop.js';
import { LocalKey } from './local-key.js';
import type { Snapshot } from './snapshot.js';

/** A new local key with its records, or what went wrong with whom. */
export type Sealing =
  | { readonly localKey: LocalKey; readonly records: readonly LocalKeyRecord[]; readonly annotation: Uint8Array }
  | { readonly failures: ReadonlyMap<KeyLoop, BackendError> };

/** Makes a local key and wraps it under every one of `members`; each record was unwrapped again and compared. */
export async function sealUnder(members: readonly KeyLoop[], cluster: string): Promise<Sealing> {
  const localKey = LocalKey.generate();
  const failures = new Map<KeyLoop, BackendError>();
  const wrapped = await Promise.all(
    members.map(async (loop) => {
      try {
        return [await loop.wrap(localKey)];
      } catch (error) {
        failures.set(loop, toBackendError(error, loop.key.backendName));
        return [];
      }
    }),
  );
  const records = wrapped.flat();
  if (failures.size === 0) {
    try {
      return { localKey, records, annotation: encodeAnnotation({ commitment: localKey.commitment, cluster, records }) };
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      for (const loop of members) {
        const text = `${loop.key.backendName}: wrap: the envelope cannot hold the answer: ${reason}`;
        failures.set(loop, new BackendError('internal', text));
      }
    }
  }
  localKey.destroy();
  return { failures };
}

/** What the key id depends on besides the records. */
export interface IdParts {
  readonly cluster: string;
  readonly generation: number;
  /** Name of the key that writes. */
  readonly writer: string;
  /** How often a KEK was replaced beneath its name in this generation. */
  readonly replacements: number;
}

/** The key id of a local key with these records; a suffix tells it from the ids before a KEK was replaced beneath its name. */
export function keyIdOf(records: Snapshot['records'], { cluster, generation, writer, replacements }: IdParts): string {
  const keyId = computeKeyId({ format: FORMAT, cluster, generation, writer, records });
  return replacements === 0 ? keyId : `${keyId}-${replacements}`;
}
