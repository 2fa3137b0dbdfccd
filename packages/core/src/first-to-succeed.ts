import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Makes the attempts in their order until one succeeds: the next when the one before failed, or has not settled for `patienceMs`.
 *
 * So a good answer costs one attempt, and one that hangs does not use up the caller's deadline.
 *
 * @param options.discard - gets what attempts yield after the first success
 * @throws {AggregateError} the reasons, in the order of the attempts, when all fail
 */
export async function firstToSucceed<T>(
  attempts: readonly (() => Promise<T>)[],
  { patienceMs, discard }: { readonly patienceMs: number; readonly discard: (late: T) => void },
): Promise<T> {
  const running: Promise<T>[] = [];
  for (const attempt of attempts) {
    const latest = attempt();
    running.push(latest);
    if (running.length === attempts.length) break;
    const patience = new AbortController();
    const hasWon = await Promise.race([
      Promise.any(running).then(() => true),
      latest.then(
        () => true,
        () => false,
      ),
      sleep(patienceMs, false, { signal: patience.signal }),
    ]).catch(() => false);
    patience.abort();
    if (hasWon) break;
  }
  const winner = Promise.any(running);
  const value = await winner;
  for (const each of running) {
    each.then(
      (late) => {
        if (late !== value) discard(late);
      },
      () => undefined,
    );
  }
  return value;
}
