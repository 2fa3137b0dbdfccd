import type { Figure } from './figure.js';
import type { LoadClient } from './load-client.js';
import { residentMb, untilIdle } from './process-cost.js';
import { start, type Subject } from './subject.js';

const half = 100_000;

/** Resident memory when idle, and after 100,000 and 200,000 calls of Decrypt and Encrypt by turns. */
export async function measureMemory(
  subjects: readonly Subject[],
  { client }: { readonly client: LoadClient },
): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const subject of subjects) {
    const { pid, stop } = await start(subject, client);
    const record = async (name: string, target?: string): Promise<void> => {
      const values = [await residentMb(pid)];
      figures.push({ name, subject: subject.name, unit: 'MB', values, ...(target !== undefined && { target }) });
    };
    try {
      await untilIdle(pid);
      await record('memory, idle', '≤ 54 MB');
      if (subject.scrape !== undefined) {
        // As whoever watches it does; what writes the page is loaded for the first one.
        await subject.scrape();
        await record('memory, idle, after /metrics was read');
      }
      await callHalf(subject, client);
      await record('memory after 100,000 calls');
      await callHalf(subject, client);
      await record('memory after 200,000 calls', '≤ 88 MB, no more than after 100,000');
    } finally {
      await stop();
    }
  }
  return figures;
}

async function callHalf({ socket }: Subject, client: LoadClient): Promise<void> {
  for (const method of ['Encrypt', 'Decrypt'] as const)
    await client.load(socket, { method, inFlight: 16, calls: half / 2 });
}
