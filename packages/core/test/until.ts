const POLL_MS = 2;

/**
 * Waits until `condition` gives something other than `undefined` or `false`, and gives that.
 *
 * Unlike `vi.waitFor` it leaves faked clocks alone.
 */
export async function until<T>(
  condition: () => T | undefined | false,
  { withinMs = 5_000 }: { readonly withinMs?: number } = {},
): Promise<T> {
  const endMs = Date.now() + withinMs;
  for (;;) {
    const met = condition();
    if (met !== undefined && met !== false) return met;
    if (Date.now() > endMs) throw new Error(`not within ${withinMs} ms: ${condition.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
