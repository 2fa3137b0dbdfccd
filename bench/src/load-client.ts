import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { cached } from '@sealwax/e2e/cache';
import { announced, buildArguments, go } from '@sealwax/e2e/go';
import { z } from 'zod';
import { clientCore, pinned } from './cores.js';

const execFileAsync = promisify(execFile);
const source = path.resolve(import.meta.dirname, '../client');

export type Method = 'Status' | 'Encrypt' | 'Decrypt';

const loadSchema = z.object({
  calls: z.number(),
  seconds: z.number(),
  p50Ms: z.number(),
  p99Ms: z.number(),
  mostMs: z.number(),
});
/** How many calls were answered, in which time, and how long one took. */
export type Load = z.infer<typeof loadSchema>;

const spawnSchema = z.object({ ms: z.number(), cpuMs: z.number() });
/** How long a start took, and how much it computed. */
export type Spawn = z.infer<typeof spawnSchema>;

/** For how long, or how often. */
export type Amount = { readonly seconds: number } | { readonly calls: number };

/** The client of `client/`, on a core of its own: gRPC for Go with the settings of the API server. */
export class LoadClient {
  readonly #binary: string;

  private constructor(binary: string) {
    this.#binary = binary;
  }

  /** Builds it when it is not in the cache. */
  static async build(): Promise<LoadClient> {
    const args = [...buildArguments, '-ldflags', '-s -w'];
    const names = (await readdir(source)).filter((name) => /\.(go|mod|sum)$/.test(name)).sort();
    const files = await Promise.all(names.map((name) => readFile(path.join(source, name))));
    const binary = await cached({
      name: 'bench-client',
      inputs: [...files, args.join(' ')],
      make: async (target) => {
        await announced('building the load client', () => go([...args, '-o', target, '.'], source));
      },
    });
    return new LoadClient(binary);
  }

  /** Calls `method`, Decrypt for one seed that is sealed before. Rejects when an answer is wrong. */
  async load(
    socket: string,
    { method, inFlight, ...amount }: { readonly method: Method; readonly inFlight: number } & Amount,
  ): Promise<Load> {
    return loadSchema.parse(await this.#run({ do: 'load', socket, method, inFlight, ...amount }));
  }

  /** Decrypts each seed of a file once; see `writeSeeds`. */
  async decryptSeeds(
    socket: string,
    { seeds, inFlight }: { readonly seeds: string; readonly inFlight: number },
  ): Promise<Load> {
    return loadSchema.parse(await this.#run({ do: 'decrypt', socket, seeds, inFlight }));
  }

  /**
   * The start of `command` until it answers Status: anything, or with `healthy` an "ok".
   *
   * @param options.path - where it looks for programs, for Node above all; ours when absent
   */
  async spawn(
    socket: string,
    {
      command,
      healthy,
      path: programs,
    }: { readonly command: readonly string[]; readonly healthy: boolean; readonly path?: string | undefined },
  ): Promise<Spawn> {
    const environment = programs === undefined ? process.env : { ...process.env, PATH: programs };
    return spawnSchema.parse(await this.#run({ do: 'spawn', socket, command, healthy }, environment));
  }

  /** Has the system's disk cache forget all files below `directories`, but for what processes have mapped. */
  async evict(directories: readonly string[]): Promise<void> {
    await this.#run({ do: 'evict', directories });
  }

  async #run(job: unknown, environment = process.env): Promise<unknown> {
    const [command = '', ...args] = pinned(clientCore, [this.#binary, JSON.stringify(job)]);
    const { stdout } = await execFileAsync(command, args, { env: environment });
    return JSON.parse(stdout);
  }
}
