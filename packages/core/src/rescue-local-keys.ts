import { toBackendError, type BackendError } from './backend-error.js';
import type { LocalKeyRecord } from './envelope.js';
import type { HeldKey } from './held-keys.js';
import type { KeyLoop } from './key-loop.js';
import type { Rescue } from './rescue.js';

const AT_A_TIME = 16;

/** How many local keys got a record that opens them, and why the others did not. */
export interface RescueOutcome {
  readonly rescued: number;
  readonly failed: readonly HeldKey[];
  readonly reason: BackendError | undefined;
}

/**
 * Wraps local keys, whose KEK is lost, under every one of `loops` that can, and keeps the records in `rescue`.
 *
 * @param heldKeys - must stay in memory until the promise resolves
 */
export async function rescueLocalKeys(
  heldKeys: readonly HeldKey[],
  { loops, rescue }: { readonly loops: readonly KeyLoop[]; readonly rescue: Rescue },
): Promise<RescueOutcome> {
  const entries: { readonly commitment: Uint8Array; readonly records: readonly LocalKeyRecord[] }[] = [];
  const failed: HeldKey[] = [];
  let reason: BackendError | undefined;
  const queue = heldKeys.values();
  const work = async () => {
    for (const held of queue) {
      const records: LocalKeyRecord[] = [];
      for (const loop of loops) {
        try {
          records.push(await loop.wrap(held.localKey));
        } catch (error) {
          reason ??= toBackendError(error, loop.key.backendName);
        }
      }
      if (records.length > 0) entries.push({ commitment: held.localKey.commitment, records });
      else failed.push(held);
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, work));
  if (entries.length > 0) await rescue.add(entries);
  return { rescued: entries.length, failed, reason };
}
