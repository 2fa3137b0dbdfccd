/** What `start` gives, or a rejection as soon as `signal` aborts: what was started is shared by several calls and goes on for the others. */
export async function orAborted<T>(start: () => Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const stop = new AbortController();
  const aborted = new Promise<never>((_resolve, reject) => {
    signal.addEventListener(
      'abort',
      () => {
        reject(Object.assign(new Error('aborted'), { name: 'AbortError' }));
      },
      { signal: stop.signal },
    );
  });
  try {
    return await Promise.race([start(), aborted]);
  } finally {
    stop.abort();
  }
}
