import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { onTestFinished } from 'vitest';
import { cleanEnvironment, SEALWAX } from './command-line.js';
import { makeKeyFile, writeConfig, type ConfigFile, type ConfigSections } from './config-file.js';
import { RpcConnection } from './rpc.js';
import { temporaryDirectory } from './temporary-directory.js';
import { until } from './until.js';

interface PluginOptions {
  readonly sections?: ConfigSections;
  readonly environment?: NodeJS.ProcessEnv;
  /** Arguments of Node itself; the process is then not started through `bin/sealwax`. */
  readonly command?: readonly [string, ...string[]];
  /** `atEndOfFile` for a plugin that the tests of a file share. */
  readonly atEnd?: (stop: () => Promise<void>) => void;
}

/** A line of the log. */
export type LogLine = Readonly<Record<string, unknown>>;

/** How a process ended. */
export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** `sealwax serve` as a process of its own. */
export class Plugin {
  readonly config: ConfigFile;
  readonly ended: Promise<ProcessEnd>;
  readonly #child: ChildProcess;
  readonly #output: string[] = [];
  isRunning = true;

  /** Starts the process with a config file that exists; it may not be ready, or may have ended, when this returns. */
  constructor(config: ConfigFile, { environment = {}, command = [SEALWAX] }: PluginOptions = {}) {
    this.config = config;
    const [program, ...args] = command;
    this.#child = spawn(program, [...args, 'serve', '--config', config.file], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: cleanEnvironment(environment),
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk: Buffer) => this.#output.push(chunk.toString()));
    }
    this.ended = once(this.#child, 'close').then(([code, signal]) => {
      this.isRunning = false;
      return { code, signal };
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Everything that the process wrote. */
  get output(): string {
    return this.#output.join('');
  }

  get log(): readonly LogLine[] {
    return this.output
      .split('\n')
      .filter((line) => line.startsWith('{') && line.endsWith('}'))
      .map((line) => JSON.parse(line) as LogLine);
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async stop(): Promise<ProcessEnd> {
    this.kill('SIGTERM');
    return this.ended;
  }

  async connect(): Promise<RpcConnection> {
    return until(() => RpcConnection.open(this.config.socketPath));
  }

  /** Waits until Status says ok, with an answer from each API that an operator has. */
  async untilReady(): Promise<void> {
    await until(async () => {
      if (!this.isRunning) return true;
      return (await this.http('/readyz')).status === 200;
    });
    if (!this.isRunning) throw new Error(`ended before it was ready:\n${this.output}`);
  }

  async http(path: string, options: RequestInit = {}): Promise<Response> {
    return fetch(`http://${this.config.httpAddress}${path}`, options);
  }
}

/** A plugin that serves with a new key file, killed when the test is over. */
export async function startPlugin(options: PluginOptions = {}): Promise<Plugin> {
  const atEnd = options.atEnd ?? onTestFinished;
  const config = await writeConfig(await temporaryDirectory(atEnd), options.sections);
  await makeKeyFile(config);
  const plugin = startWith(config, options);
  await plugin.untilReady();
  return plugin;
}

/** The process alone, whatever the config file says; killed when the test is over. */
export function startWith(config: ConfigFile, options: PluginOptions = {}): Plugin {
  const plugin = new Plugin(config, options);
  (options.atEnd ?? onTestFinished)(async () => {
    plugin.kill('SIGKILL');
    await plugin.ended;
  });
  return plugin;
}
