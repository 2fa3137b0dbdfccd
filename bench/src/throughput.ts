import type { Figure } from './figure.js';
import type { Load, LoadClient, Method } from './load-client.js';
import { cpuMs } from './process-cost.js';
import { start, type Subject } from './subject.js';

const methods: readonly Method[] = ['Status', 'Encrypt', 'Decrypt'];
const widths = [1, 16, 64];
const warmUpCalls = 5_000;

/** With what the server computed for each call. */
interface CostedLoad extends Load {
  readonly cpuUsPerCall: number;
}

interface ThroughputOptions {
  readonly client: LoadClient;
  readonly rounds: number;
  readonly secondsEach: number;
}

/** Calls a second and latency of each method; Decrypt is of a seed whose local key is held. The rounds of all subjects alternate. */
export async function measureThroughput(
  subjects: readonly Subject[],
  { client, rounds, secondsEach }: ThroughputOptions,
): Promise<Figure[]> {
  const running = await Promise.all(subjects.map(async (subject) => start(subject, client)));
  const loads = new Map<string, CostedLoad[]>();
  try {
    for (const { socket } of subjects) {
      // Until the compilers are done with it.
      for (const method of methods) await client.load(socket, { method, inFlight: 16, calls: warmUpCalls });
    }
    for (let round = 0; round < rounds; round += 1) {
      for (const method of methods) {
        for (const inFlight of widths) {
          for (const [index, { name, socket }] of subjects.entries()) {
            const pid = running[index]?.pid ?? 0;
            const before = await cpuMs(pid);
            const load = await client.load(socket, { method, inFlight, seconds: secondsEach });
            const cpuUs = ((await cpuMs(pid)) - before) * 1_000;
            const place = `${name} ${method} ${inFlight}`;
            loads.set(place, [...(loads.get(place) ?? []), { ...load, cpuUsPerCall: cpuUs / load.calls }]);
          }
        }
      }
    }
  } finally {
    await Promise.all(running.map(async (each) => each.stop()));
  }
  return methods.flatMap((method) =>
    widths.flatMap((inFlight) =>
      subjects.flatMap(({ name }) =>
        figuresOf(loads.get(`${name} ${method} ${inFlight}`) ?? [], { method, inFlight, subject: name }),
      ),
    ),
  );
}

function figuresOf(
  loads: readonly CostedLoad[],
  { method, inFlight, subject }: { readonly method: Method; readonly inFlight: number; readonly subject: string },
): Figure[] {
  const what = `${method}, ${inFlight} in flight`;
  return [
    {
      name: what,
      subject,
      unit: 'calls/s',
      values: loads.map(({ calls, seconds }) => calls / seconds),
      ...(inFlight === 16 && { target: '≥ 0.62 × reference' }),
    },
    { name: `${what}, CPU of the server`, subject, unit: 'µs a call', values: loads.map((each) => each.cpuUsPerCall) },
    {
      name: `${what}, p50`,
      subject,
      unit: 'ms',
      values: loads.map(({ p50Ms }) => p50Ms),
      ...(inFlight === 1 && { target: '≤ 0.25 ms' }),
    },
    {
      name: `${what}, p99`,
      subject,
      unit: 'ms',
      values: loads.map(({ p99Ms }) => p99Ms),
      ...(inFlight === 1 && { target: '≤ 1 ms' }),
      ...(inFlight === 16 && { target: '≤ 5 ms' }),
    },
  ];
}
