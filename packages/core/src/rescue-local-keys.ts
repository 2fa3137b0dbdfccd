import { toBackendError, type BackendError } from './backend-error.js';
import type { LocalKeyRecord } from './envelope.js';
import type { HeldKey } from './held-keys.js';
import type { KeyLoop } from './key-loop.js';
import { troubleOf } from './policy.js';
import type { Rescue } from './rescue.js';

const AT_A_TIME = 16;

/** How many local keys got a record that opens them, and why the others did not. */
export interface RescueOutcome {
  readonly rescued: number;
  readonly failed: readonly HeldKey[];
  readonly reason: BackendError | undefined;
}

/**
 * Wraps local keys, whose KEK is lost, under every one of `loops` that can, and keeps each record in `rescue` as soon as it is there: a key whose KMS
 * hangs holds up no other, and what is done when the process is told to stop is on disk.
 *
 * @param heldKeys - must stay in memory until the promise resolves
 * @throws what `rescue.add` throws
 */
export async function rescueLocalKeys(
  heldKeys: readonly HeldKey[],
  { loops, rescue }: { readonly loops: readonly KeyLoop[]; readonly rescue: Rescue },
): Promise<RescueOutcome> {
  const made = new Map<HeldKey, LocalKeyRecord[]>();
  const unwritten = new Set<HeldKey>();
  let writing = Promise.resolve();
  let reason: BackendError | undefined;
  const write = async () => {
    const entries = [...unwritten].map((held) => ({
      commitment: held.localKey.commitment,
      records: made.get(held) ?? [],
    }));
    unwritten.clear();
    if (entries.length > 0) await rescue.add(entries);
  };
  const wrapUnder = async (loop: KeyLoop) => {
    const queue = heldKeys.values();
    let isAway = false;
    const work = async () => {
      for (const held of queue) {
        if (isAway) return;
        try {
          const record = await loop.wrap(held.localKey);
          made.set(held, [...(made.get(held) ?? []), record]);
          unwritten.add(held);
          writing = writing.then(write);
          // Who waits for it at the end gets to know.
          writing.catch(() => undefined);
        } catch (error) {
          const failure = toBackendError(error, loop.key.backendName);
          reason ??= failure;
          isAway ||= troubleOf(failure.code) === 'outage';
        }
      }
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, work));
  };
  await Promise.all(loops.map(wrapUnder));
  await writing;
  return { rescued: made.size, failed: heldKeys.filter((held) => !made.has(held)), reason };
}
