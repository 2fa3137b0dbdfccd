import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { freePort } from '../free-port.js';
import { Process } from '../process.js';
import { TestAuthority, type IssuedCertificate } from '../test-certificates.js';
import { waitFor } from '../wait-for.js';
import { baoBinary } from './bao-binary.js';
import { BaoClient } from './bao-client.js';

const startTimeoutMs = 60_000;

export interface OpenBaoOptions {
  /** Asks for a client certificate; the login method `cert` then knows it. */
  readonly clientAuthority?: TestAuthority | undefined;
  /** Joins this cluster instead of beginning one. */
  readonly leader?: OpenBao | undefined;
}

/** One node of OpenBao on loopback with TLS, raft storage and a static seal: it comes back unsealed after a restart. */
export class OpenBao {
  readonly authority: TestAuthority;
  readonly certificate: IssuedCertificate;
  readonly port: number;
  /** PEM of the CA, for `caFile`. */
  readonly caFile: string;
  readonly directory: string;
  readonly #sealKey: string;
  readonly #binary: string;
  #rootToken = '';
  #process: Process | undefined;

  private constructor(
    directory: string,
    options: {
      readonly port: number;
      readonly binary: string;
      readonly authority: TestAuthority;
      readonly sealKey: string;
    },
  ) {
    this.directory = directory;
    this.port = options.port;
    this.authority = options.authority;
    this.certificate = options.authority.issue(['localhost', '127.0.0.1']);
    this.caFile = path.join(directory, 'ca.pem');
    this.#sealKey = options.sealKey;
    this.#binary = options.binary;
  }

  /** Starts a new node in a directory of its own; resolves when it is active, or has joined its leader. */
  static async start(directory: string, { clientAuthority, leader }: OpenBaoOptions = {}): Promise<OpenBao> {
    const bao = await OpenBao.#prepare(directory, { clientAuthority, leader });
    await bao.resume();
    if (leader === undefined) {
      const { root_token: token } = await bao.#bare.post('sys/init', { recovery_shares: 1, recovery_threshold: 1 });
      bao.#rootToken = String(token);
    } else {
      bao.#rootToken = leader.#rootToken;
    }
    await bao.untilHealth(leader === undefined ? 200 : 429);
    return bao;
  }

  /** Starts a node that nobody initialises. */
  static async startUninitialised(directory: string): Promise<OpenBao> {
    const bao = await OpenBao.#prepare(directory, {});
    await bao.resume();
    return bao;
  }

  get url(): string {
    return `https://localhost:${this.port}`;
  }

  get rootToken(): string {
    return this.#rootToken;
  }

  get root(): BaoClient {
    return this.#bare.with({ token: this.#rootToken });
  }

  /** Waits until `sys/health` answers with `status`: 200 active, 429 standby, 501 not initialised, 503 sealed. */
  async untilHealth(status: number): Promise<void> {
    await waitFor(async () => (await this.#bare.status('sys/health')) === status, {
      what: `the health of OpenBao to be ${status}`,
      timeoutMs: startTimeoutMs,
    });
  }

  /** Starts the process on the data that are there. */
  async resume(): Promise<void> {
    this.#process = await Process.start({
      name: 'OpenBao',
      command: this.#binary,
      args: ['server', '-config', this.#configFile],
      logPath: path.join(this.directory, 'openbao.log'),
    });
    await this.#process.untilReady(async () => (await this.#bare.status('sys/health')) !== undefined, startTimeoutMs);
  }

  /** Stops and starts it; resolves when it is active again. */
  async restart(): Promise<void> {
    await this.stop();
    await this.resume();
    await this.untilHealth(200);
  }

  async kill(): Promise<void> {
    await this.#process?.kill();
    this.#process = undefined;
  }

  async stop(): Promise<void> {
    await this.#process?.stop();
    this.#process = undefined;
  }

  get #bare(): BaoClient {
    return new BaoClient({ port: this.port, ca: this.authority.cert });
  }

  get #configFile(): string {
    return path.join(this.directory, 'openbao.json');
  }

  static async #prepare(directory: string, { clientAuthority, leader }: OpenBaoOptions): Promise<OpenBao> {
    await mkdir(path.join(directory, 'raft'), { recursive: true });
    const bao = new OpenBao(directory, {
      port: await freePort(),
      binary: await baoBinary(),
      authority: leader?.authority ?? new TestAuthority('OpenBao of a test'),
      sealKey: leader === undefined ? randomBytes(32).toString('base64') : leader.#sealKey,
    });
    await bao.#writeConfig(await freePort(), { clientAuthority, leader });
    return bao;
  }

  async #writeConfig(clusterPort: number, { clientAuthority, leader }: OpenBaoOptions): Promise<void> {
    const file = (name: string): string => path.join(this.directory, name);
    await writeFile(this.caFile, this.authority.cert);
    await writeFile(file('server.pem'), this.certificate.cert);
    await writeFile(file('server.key'), this.certificate.key, { mode: 0o600 });
    if (clientAuthority !== undefined) await writeFile(file('client-ca.pem'), clientAuthority.cert);
    const config = {
      // A standby of 2.7 answers reads, encryptions and decryptions by itself; older ones, and Vault's, hand them on.
      disable_standby_reads: true,
      api_addr: this.url,
      cluster_addr: `https://127.0.0.1:${clusterPort}`,
      listener: {
        tcp: {
          address: `127.0.0.1:${this.port}`,
          cluster_address: `127.0.0.1:${clusterPort}`,
          tls_cert_file: file('server.pem'),
          tls_key_file: file('server.key'),
          ...(clientAuthority !== undefined && { tls_client_ca_file: file('client-ca.pem') }),
        },
      },
      storage: {
        raft: {
          path: file('raft'),
          node_id: `node-${this.port}`,
          performance_multiplier: 1,
          ...(leader !== undefined && {
            retry_join: [{ leader_api_addr: leader.url, leader_ca_cert_file: leader.caFile }],
          }),
        },
      },
      seal: { static: { current_key_id: 'e2e', current_key: this.#sealKey } },
    };
    await writeFile(this.#configFile, JSON.stringify(config), { mode: 0o600 });
  }
}
