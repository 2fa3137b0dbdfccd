const POLL_MS = 10;

/** Waits until `look` gives something other than `undefined` or `false`, and gives that. What it throws means "not yet". */
export async function until<T>(
  look: () => T | undefined | false | Promise<T | undefined | false>,
  { withinMs = 40_000 }: { readonly withinMs?: number } = {},
): Promise<T> {
  const endMs = Date.now() + withinMs;
  let last: unknown;
  for (;;) {
    try {
      const met = await look();
      if (met !== undefined && met !== false) return met;
    } catch (error) {
      last = error;
    }
    if (Date.now() > endMs) throw new Error(`not within ${withinMs} ms: ${look.toString()}`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
