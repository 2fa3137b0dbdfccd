import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { Process } from '@sealwax/e2e/process';
import { Sealwax, sealwaxCommand, type ConfigSections } from '@sealwax/e2e/sealwax';
import { pinned, serverCore } from './cores.js';
import type { LoadClient } from './load-client.js';

/** A plugin that can be started on a socket. */
export interface Subject {
  readonly name: string;
  readonly socket: string;
  readonly logPath: string;
  /** What starts it, held to its core. */
  readonly command: readonly string[];
  /** Reads its metrics, where it has any. */
  readonly scrape?: () => Promise<unknown>;
}

/** What a user has who writes nothing into the config but the keys: logs, metrics and limits are on. */
const shipped = { log: {}, probe: {}, publish: {} } as const;

/** The name of the one that others are compared with. */
export const referenceName = 'reference';

/** The floor, under the flags that Sealwax sets. */
export async function referenceSubject(directory: string): Promise<Subject> {
  const program = path.join(import.meta.dirname, 'reference.js');
  const setter = path.resolve(import.meta.dirname, '../../packages/server/src/cli/v8-flags.ts');
  const flags = [...(await readFile(setter, 'utf8')).matchAll(/'(--[^']+)'/g)].flatMap(([, flag]) => flag ?? []);
  if (flags.length === 0) throw new Error(`${setter} names no flags`);
  return prepare(directory, {
    name: referenceName,
    command: (socket) => ['node', program, socket, ...flags],
  });
}

/** Another plugin; `{socket}` in its command is where it has to listen. */
export async function otherSubject(directory: string, name: string, command: string): Promise<Subject> {
  return prepare(directory, {
    name,
    command: (socket) => ['sh', '-c', `exec ${command.replaceAll('{socket}', socket)}`],
  });
}

/** Sealwax with a key of the local backend, unless `sections` say otherwise. */
export async function sealwaxSubject(
  directory: string,
  { name = 'sealwax', sections = {} }: { readonly name?: string; readonly sections?: ConfigSections } = {},
): Promise<Subject & { readonly plugin: Sealwax }> {
  const plugin = await Sealwax.configure(directory, { sections: { ...shipped, ...sections } });
  await plugin.init();
  return {
    name,
    plugin,
    scrape: () => plugin.metrics(),
    socket: plugin.socketPath,
    logPath: plugin.logPath,
    command: pinned(serverCore, [sealwaxCommand, 'serve', '--config', plugin.configPath]),
  };
}

/** A subject that runs. */
export interface RunningSubject {
  readonly pid: number;
  readonly stop: () => Promise<void>;
}

/** Starts it; resolves when Status says "ok". */
export async function start({ name, socket, logPath, command }: Subject, client: LoadClient): Promise<RunningSubject> {
  const [program = '', ...args] = command;
  const started = await Process.start({ name, command: program, args, logPath });
  await started.untilReady(async () => {
    await client.load(socket, { method: 'Status', inFlight: 1, calls: 1 });
    return true;
  }, 30_000);
  return {
    pid: started.pid,
    stop: async () => {
      await started.stop();
    },
  };
}

async function prepare(
  directory: string,
  { name, command }: { readonly name: string; readonly command: (socket: string) => readonly string[] },
): Promise<Subject> {
  await mkdir(directory, { recursive: true });
  const socket = path.join(directory, 'kms.sock');
  return {
    name,
    socket,
    logPath: path.join(directory, `${name}.log`),
    command: pinned(serverCore, command(socket)),
  };
}
