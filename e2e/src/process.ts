import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { waitFor } from './wait-for.js';

/** How a program is to be started. */
export interface ProcessOptions {
  /** For messages. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Gets everything the program prints; appended to. */
  readonly logPath: string;
  /** Its environment, besides PATH and HOME. */
  readonly env?: Readonly<Record<string, string>>;
}

/** How a program ended. */
export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Long enough for an API server to finish what is in flight. */
const stopTimeoutMs = 60_000;

/** A program that the suite started, and that it ends by its pid. */
export class Process {
  readonly name: string;
  readonly pid: number;
  /** Settles when the program has ended, however it ended. */
  readonly ended: Promise<ProcessEnd>;
  readonly #child: ReturnType<typeof spawn>;
  readonly #logPath: string;
  #end: ProcessEnd | undefined;

  private constructor(name: string, logPath: string, child: ReturnType<typeof spawn>, pid: number) {
    this.name = name;
    this.pid = pid;
    this.#logPath = logPath;
    this.#child = child;
    this.ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#end = { code, signal };
        resolve(this.#end);
      });
    });
  }

  /** Starts the program; it may not be ready, or may already have ended, when this returns. */
  static async start(options: ProcessOptions): Promise<Process> {
    const log = openSync(options.logPath, 'a');
    // Nothing of ours may outlive the suite, even when the suite itself is killed: the kernel then ends the child.
    const [command, args] =
      process.platform === 'linux'
        ? ['setpriv', ['--pdeathsig', 'KILL', options.command, ...options.args]]
        : [options.command, [...options.args]];
    const child = spawn(command, args, {
      stdio: ['ignore', log, log],
      // Nothing else: the machine's NODE_OPTIONS or proxies are not what is tested.
      env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...options.env },
    });
    closeSync(log);
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (error) => {
        reject(new Error(`${options.name} does not start: ${error.message}`, { cause: error }));
      });
    });
    if (child.pid === undefined) throw new Error(`${options.name} has no pid`);
    return new Process(options.name, options.logPath, child, child.pid);
  }

  get isAlive(): boolean {
    return this.#end === undefined;
  }

  /** Waits until `look` succeeds; fails at once, with the end of the log, when the program ends before. */
  async untilReady(look: () => Promise<boolean>, timeoutMs: number): Promise<void> {
    try {
      const ended = await waitFor(async () => !this.isAlive || (await look()), {
        what: `${this.name} to be ready`,
        timeoutMs,
      }).then(() => this.#end);
      if (ended !== undefined) throw new Error(`${this.name} ended with ${JSON.stringify(ended)} before it was ready`);
    } catch (error) {
      await this.kill();
      throw new Error(`${String(error)}\nthe end of ${this.#logPath}:\n${this.#tail()}`, { cause: error });
    }
  }

  /** SIGTERM, and SIGKILL when that does not help within a minute. */
  async stop(): Promise<ProcessEnd> {
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => {
      this.#child.kill('SIGKILL');
    }, stopTimeoutMs);
    const ended = await this.ended;
    clearTimeout(timer);
    return ended;
  }

  async kill(): Promise<ProcessEnd> {
    this.#child.kill('SIGKILL');
    return this.ended;
  }

  #tail(): string {
    return readFileSync(this.#logPath, 'utf8').split('\n').slice(-40).join('\n');
  }
}
