/** `npm run bench`: measures, and fails only when an answer is wrong. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { measureApiServerStart } from './api-server-start.js';
import { measureDistantKms } from './distant-kms.js';
import type { Figure } from './figure.js';
import { LoadClient } from './load-client.js';
import { measureMemory } from './memory.js';
import { load, machineNow, readReport, writeReport } from './report.js';
import { measureBackends, measureColdStart, measureStart } from './start-time.js';
import { otherSubject, referenceSubject, sealwaxSubject, type Subject } from './subject.js';
import { table } from './table.js';
import { measureThroughput } from './throughput.js';

const parts = ['throughput', 'start', 'memory', 'distance', 'cluster'] as const;
type Part = (typeof parts)[number];

const usage = `npm run bench -- [--only PART]… [--cluster] [--full] [--against NAME=COMMAND]… [--json FILE] [--compare FILE]
  --only PART             ${parts.join(', ')} (default: all but cluster)
  --cluster               the start of a real kube-apiserver too; takes minutes
  --full                  longer rounds and more of them, more distances, more local keys
  --against NAME=COMMAND  another KMS v2 plugin beside Sealwax; {socket} in its command is where it has to listen
  --json FILE             the figures for machines
  --compare FILE          the JSON of an earlier run: each figure also as a ratio to that`;

interface Options {
  readonly wanted: ReadonlySet<string>;
  readonly full: boolean;
  readonly against: readonly (readonly [name: string, command: string])[];
  readonly json: string | undefined;
  readonly compare: string | undefined;
}

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', multiple: true, default: [] },
      cluster: { type: 'boolean', default: false },
      full: { type: 'boolean', default: false },
      against: { type: 'string', multiple: true, default: [] },
      json: { type: 'string' },
      compare: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    process.exit(0);
  }
  const known: readonly string[] = parts;
  for (const part of values.only) {
    if (!known.includes(part)) throw new RangeError(`no part ${part}; there are: ${parts.join(', ')}`);
  }
  const chosen = values.only.length > 0 ? values.only : parts.filter((part) => part !== 'cluster');
  return {
    wanted: new Set(values.cluster ? [...chosen, 'cluster'] : chosen),
    full: values.full,
    against: values.against.map((text) => {
      const [, name, command] = /^([^=]+)=(.+)$/s.exec(text) ?? [];
      if (name === undefined || command === undefined) throw new RangeError(`--against ${text}: not NAME=COMMAND`);
      return [name, command];
    }),
    json: values.json,
    compare: values.compare,
  };
}

async function measure({ wanted, full, against }: Options, directory: string): Promise<Figure[]> {
  const client = await LoadClient.build();
  const subjects: readonly Subject[] = [
    await referenceSubject(path.join(directory, 'reference')),
    await sealwaxSubject(path.join(directory, 'sealwax')),
    ...(await Promise.all(
      against.map(async ([name, command], index) =>
        otherSubject(path.join(directory, `against-${index}`), name, command),
      ),
    )),
  ];
  const own = async (name: string): Promise<string> => {
    const made = path.join(directory, name);
    await mkdir(made);
    return made;
  };
  const measures: Readonly<Record<Part, () => Promise<Figure[]>>> = {
    throughput: async () =>
      measureThroughput(subjects, { client, rounds: full ? 15 : 11, secondsEach: full ? 2 : 0.4 }),
    start: async () => {
      const rounds = full ? 40 : 12;
      return [
        ...(await measureStart(subjects, { client, rounds })),
        ...(await measureColdStart(await own('cold'), subjects, { client, rounds: Math.ceil(rounds / 4) })),
        ...(await measureBackends(await own('backends'), { client, rounds: Math.ceil(rounds / 2) })),
      ];
    },
    memory: async () => measureMemory(subjects, { client }),
    distance: async () =>
      measureDistantKms(await own('distance'), {
        client,
        localKeyCounts: full ? [1, 100, 1_000] : [1, 1_000],
        distancesMs: [5, 200],
      }),
    cluster: async () => measureApiServerStart(await own('cluster'), { full }),
  };
  const figures: Figure[] = [];
  for (const part of parts) {
    if (!wanted.has(part)) continue;
    const startedAt = performance.now();
    try {
      figures.push(...(await measures[part]()));
    } catch (error) {
      // What was measured before is not lost.
      console.error(`${part}: failed:`, error);
      process.exitCode = 1;
    }
    console.log(`${part}: ${Math.round((performance.now() - startedAt) / 1_000)} s`);
  }
  return figures;
}

async function run(options: Options): Promise<void> {
  const earlier = options.compare === undefined ? undefined : await readReport(options.compare);
  const directory = await mkdtemp(path.join(tmpdir(), 'sealwax-bench-'));
  try {
    const before = machineNow();
    const figures = await measure(options, directory);
    const machine = { ...before, loadAfter: load() };
    console.log(
      `\n${machine.processor}, ${machine.cores} cores, ${machine.system}, Node ${machine.node}; load ${machine.loadBefore} before, ${machine.loadAfter} after\n`,
    );
    console.log(table(figures, earlier?.figures));
    if (options.json !== undefined)
      await writeReport(options.json, { measuredAt: new Date().toISOString(), machine, figures });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

let options: Options;
try {
  options = readOptions();
} catch (error) {
  console.error(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`);
  process.exit(2);
}
await run(options);
