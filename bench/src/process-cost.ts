import { readdir, readFile } from 'node:fs/promises';
import { waitFor } from '@sealwax/e2e/wait-for';

/** Resident memory of a process, in MB. */
export async function residentMb(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1];
  if (kilobytes === undefined) throw new Error(`process ${pid} has no memory`);
  return Number(kilobytes) / 1024;
}

/**
 * What the threads of a process have computed so far, in milliseconds.
 *
 * Unlike time by the clock it hardly grows when others want the same core.
 */
export async function cpuMs(pid: number): Promise<number> {
  const threads = await readdir(`/proc/${pid}/task`);
  const nanoseconds = await Promise.all(
    threads.map(async (thread) => {
      // A thread may have ended meanwhile.
      const content = await readFile(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').catch(() => '0');
      return Number(content.split(' ')[0]);
    }),
  );
  return nanoseconds.reduce((sum, each) => sum + each, 0) / 1e6;
}

/** Waits until a process hardly computes any more: its start, and what it does afterwards, are over. */
export async function untilIdle(pid: number): Promise<void> {
  let last = 0;
  await waitFor(
    async () => {
      const now = await cpuMs(pid);
      const idle = now - last < 10;
      last = now;
      return idle;
    },
    { what: `process ${pid} to be idle`, timeoutMs: 30_000, intervalMs: 1_000 },
  );
}
