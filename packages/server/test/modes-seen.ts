import { Worker } from 'node:worker_threads';

/** Looks at its files without a pause until told to stop, and notes each mode and group that it sees. */
const LOOK = `
  const { lstatSync } = require('node:fs');
  const { parentPort, workerData: { files, stop } } = require('node:worker_threads');
  const seen = Object.fromEntries(files.map((file) => [file, new Set()]));
  const flag = new Int32Array(stop);
  parentPort.postMessage('looking');
  while (Atomics.load(flag, 0) === 0) {
    for (const file of files) {
      const stats = lstatSync(file, { throwIfNoEntry: false });
      if (stats?.isSocket()) seen[file].add((stats.mode & 0o777).toString(8) + ' ' + stats.gid);
    }
  }
  parentPort.postMessage(Object.fromEntries(Object.entries(seen).map(([file, set]) => [file, [...set]])));
`;

/** Every `<mode> <gid>` that a socket at one of `files` had for a moment while `run` ran. */
export async function modesSeen(
  files: readonly string[],
  run: () => Promise<void>,
): Promise<Readonly<Record<string, readonly string[]>>> {
  const stop = new SharedArrayBuffer(4);
  const worker = new Worker(LOOK, { eval: true, workerData: { files, stop } });
  const nextMessage = () => new Promise<unknown>((resolve) => worker.once('message', resolve));
  await nextMessage();
  const seen = nextMessage();
  try {
    await run();
  } finally {
    Atomics.store(new Int32Array(stop), 0, 1);
  }
  return (await seen) as Readonly<Record<string, readonly string[]>>;
}
