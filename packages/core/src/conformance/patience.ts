import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

/** What a call may take that is to succeed or to fail by the KMS's answer; longer means that it retries or hangs. */
export const CALL_LIMIT_MS = 10_000;
/** What "soon" means after an abort: generous, because a test machine may be busy. */
export const ABORT_LIMIT_MS = 3_000;
/** Until an instance must work again once the service does: a client may pause between two connections. */
export const RECOVERY_LIMIT_MS = 20_000;
const POLL_MS = 50;

/** The outcome of `promise`, or an AssertionError when it does not settle in time. */
export async function settled<T>(promise: Promise<T>, limitMs: number, what: string): Promise<T> {
  const timer = new AbortController();
  const late = sleep(limitMs, undefined, { signal: timer.signal }).then(() =>
    assert.fail(`${what}: did not settle within ${limitMs} ms`),
  );
  // Whichever loses the race must not become an unhandled rejection.
  late.catch(() => undefined);
  promise.catch(() => undefined);
  try {
    return await Promise.race([promise, late]);
  } finally {
    timer.abort();
  }
}

/** Repeats `attempt` until it succeeds, with its last error when it does not in time. */
export async function eventually<T>(attempt: () => T | Promise<T>, limitMs: number): Promise<T> {
  const endMs = performance.now() + limitMs;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() > endMs) throw error;
    }
    await sleep(POLL_MS);
  }
}
