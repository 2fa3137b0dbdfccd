import { setTimeout as delay } from 'node:timers/promises';

/** What a wait is for, how long it may take, and how often to look. */
export interface WaitOptions {
  /** Completes "gave up waiting for …". */
  readonly what: string;
  readonly timeoutMs: number;
  /** Time between two looks; 50 ms when absent. */
  readonly intervalMs?: number;
}

/**
 * Calls `look` until it answers something other than `undefined` or `false`, and returns that.
 *
 * An error of `look` means "not yet": the last one is in the message, and the cause, when time is up.
 */
export async function waitFor<T>(
  look: () => T | Promise<T>,
  options: WaitOptions,
): Promise<Exclude<T, undefined | false>> {
  const deadline = Date.now() + options.timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const seen = await look();
      if (seen !== undefined && seen !== false) return seen as Exclude<T, undefined | false>;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() >= deadline) {
      const reason = last === undefined ? '' : `: ${last instanceof Error ? last.message : JSON.stringify(last)}`;
      throw new Error(`gave up waiting for ${options.what} after ${options.timeoutMs} ms${reason}`, { cause: last });
    }
    await delay(options.intervalMs ?? 50);
  }
}
