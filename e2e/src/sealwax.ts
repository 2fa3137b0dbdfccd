import { execFile } from 'node:child_process';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { freePort } from './free-port.js';
import { keyReportSchema, type KeyReport } from './key-report.js';
import { PluginClient } from './plugin-client.js';
import { Process } from './process.js';
import { Metrics } from './prometheus-text.js';
import { waitFor } from './wait-for.js';

const execFileAsync = promisify(execFile);
const startTimeoutMs = 30_000;

/** The command under test: the one of this clone, or one installed elsewhere. */
export const sealwaxCommand =
  process.env['SEALWAX_BIN'] ?? path.resolve(import.meta.dirname, '../../packages/server/bin/sealwax');

/** What a test may change in the config file, or in how the plugin is started. */
export interface SealwaxOptions {
  readonly socketMode?: string;
  readonly socketGroup?: number;
  /** 1 when absent, so that a rotation is noticed soon. */
  readonly probeIntervalSeconds?: number;
  /** Another command than the one under test. */
  readonly command?: string;
  /** Variables of its environment. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Sections of the config file that stand in the place of the usual ones. */
  readonly sections?: ConfigSections;
}

/** Top-level sections of the config file. */
export type ConfigSections = Readonly<Record<string, unknown>>;

/** One plugin with its config file, key file and socket; the process comes and goes. */
export class Sealwax {
  readonly keyFile: string;
  readonly socketPath: string;
  readonly client: PluginClient;
  readonly #directory: string;
  readonly #httpAddress: string;
  readonly #command: string;
  readonly #environment: Readonly<Record<string, string>>;
  #config: ConfigSections = {};
  #process: Process | undefined;

  private constructor(
    directory: string,
    socketPath: string,
    { httpAddress, options }: { httpAddress: string; options: SealwaxOptions },
  ) {
    this.#directory = directory;
    this.keyFile = path.join(directory, 'keys.json');
    this.socketPath = socketPath;
    this.client = new PluginClient(socketPath);
    this.#httpAddress = httpAddress;
    this.#command = options.command ?? sealwaxCommand;
    this.#environment = options.environment ?? {};
  }

  /** Writes the config file; neither key file nor process exist yet. Periods are shortened, rules are not. */
  static async configure(directory: string, options: SealwaxOptions = {}): Promise<Sealwax> {
    await mkdir(directory, { recursive: true });
    const socketPath = path.join(directory, 'run', 'kms.sock');
    const sealwax = new Sealwax(directory, socketPath, { httpAddress: `127.0.0.1:${await freePort()}`, options });
    const { socketMode: mode = '0600', socketGroup: group, probeIntervalSeconds: intervalSeconds = 1 } = options;
    await sealwax.writeConfig({
      version: 1,
      cluster: 'e2e',
      socket: { path: socketPath, mode, ...(group === undefined ? {} : { group }) },
      http: { address: sealwax.#httpAddress },
      log: { level: 'debug' },
      probe: { intervalSeconds },
      publish: { quietSeconds: 1, latestSeconds: 5 },
      keys: [{ name: 'prod', backend: 'local', config: { path: sealwax.keyFile } }],
      ...options.sections,
    });
    return sealwax;
  }

  /** A directory for `state.path`, in the same place for each start. */
  get stateDirectory(): string {
    return path.join(this.#directory, 'state');
  }

  /** Where the log goes. */
  get logPath(): string {
    return path.join(this.#directory, 'sealwax.log');
  }

  /** Replaces sections of the config file, in one step as an editor does; a running plugin notices. */
  async writeConfig(sections: ConfigSections): Promise<void> {
    this.#config = { ...this.#config, ...sections };
    await this.writeConfigText(stringify(this.#config));
  }

  /** Replaces the config file by any text. */
  async writeConfigText(text: string): Promise<void> {
    const temporary = `${this.configPath}.new`;
    await writeFile(temporary, text, { mode: 0o600 });
    await rename(temporary, this.configPath);
  }

  /** Makes the plugin read its config file now. */
  hangUp(): void {
    if (this.pid !== undefined) process.kill(this.pid, 'SIGHUP');
  }

  /** `sealwax local init`: makes the key file. */
  async init(): Promise<void> {
    await this.#run('local', 'init', this.keyFile);
  }

  /** `sealwax local rotate`: adds a version to the key file of the running plugin. */
  async rotate(): Promise<void> {
    await this.#run('local', 'rotate', this.keyFile);
  }

  /** `sealwax check` of the config file, with more arguments. */
  async check(args: readonly string[]): Promise<{ readonly code: number; readonly output: string }> {
    try {
      const { stdout, stderr } = await execFileAsync(sealwaxCommand, ['check', '--config', this.configPath, ...args]);
      return { code: 0, output: stdout + stderr };
    } catch (error) {
      const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
      return { code, output: stdout + stderr };
    }
  }

  /** Starts the process; resolves when the socket answers, whatever Status then says. */
  async start(): Promise<void> {
    this.#process = await Process.start({
      name: 'sealwax',
      command: this.#command,
      env: this.#environment,
      args: ['serve', '--config', this.configPath],
      logPath: this.logPath,
    });
    await this.#process.untilReady(async () => (await this.client.status()).version === 'v2', startTimeoutMs);
  }

  /** Waits until the API server would be content. */
  async untilOk(): Promise<void> {
    await waitFor(
      async () => {
        const { healthz } = await this.client.status();
        if (healthz !== 'ok') throw new Error(healthz);
        return true;
      },
      { what: 'Status to say ok', timeoutMs: startTimeoutMs },
    );
  }

  /** SIGTERM; the exit code. */
  async stop(): Promise<number | null | undefined> {
    const end = await this.#process?.stop();
    this.#process = undefined;
    return end?.code;
  }

  /** SIGKILL; the socket file stays behind. */
  async kill(): Promise<void> {
    await this.#process?.kill();
    this.#process = undefined;
  }

  get isAlive(): boolean {
    return this.#process?.isAlive ?? false;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** What `/keys` says. */
  async keys(): Promise<KeyReport> {
    return keyReportSchema.parse(await (await fetch(`http://${this.#httpAddress}/keys`)).json());
  }

  async readyz(): Promise<number> {
    return (await fetch(`http://${this.#httpAddress}/readyz`)).status;
  }

  async metrics(): Promise<Metrics> {
    const answer = await fetch(`http://${this.#httpAddress}/metrics`);
    if (!answer.ok) throw new Error(`/metrics of the plugin: ${answer.status}`);
    return new Metrics(await answer.text());
  }

  get configPath(): string {
    return path.join(this.#directory, 'sealwax.yaml');
  }

  async #run(...args: string[]): Promise<void> {
    await execFileAsync(this.#command, args);
  }
}
