import { setTimeout as sleep } from 'node:timers/promises';
import type { AnnotatedKey } from './envelope.js';

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;

interface RecallOptions {
  /** How many at the same time. */
  readonly concurrency: number;
  /** Unwraps one; whether it is worth trying again later, if it did not succeed. Never rejects. */
  readonly unwrap: (annotated: AnnotatedKey) => Promise<'done' | 'later'>;
}

/** Unwraps remembered local keys before the API server asks for them, `concurrency` at a time, and again with growing pauses while a KMS is away. */
export async function recall(
  annotations: readonly AnnotatedKey[],
  { concurrency, unwrap }: RecallOptions,
  signal: AbortSignal,
): Promise<void> {
  let pending = annotations;
  for (let pauseMs = FIRST_PAUSE_MS; pending.length > 0; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
    const later: AnnotatedKey[] = [];
    const queue = pending.values();
    const work = async () => {
      for (const annotated of queue) {
        if (signal.aborted) return;
        if ((await unwrap(annotated)) === 'later') later.push(annotated);
      }
    };
    await Promise.all(Array.from({ length: concurrency }, work));
    pending = later;
    if (pending.length > 0) await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
  }
}
