import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { freePort } from '../free-port.js';
import { installedPackages } from '../packed-packages.js';
import { Process } from '../process.js';
import { TestAuthority, type IssuedCertificate } from '../test-certificates.js';

const startTimeoutMs = 15_000;

/** PEM. */
interface ServerTls extends IssuedCertificate {
  readonly ca: string;
}

/** What the service's admin interface takes; see `troubles` of the example. */
export interface Troubles {
  readonly disabled?: boolean;
  readonly deleted?: boolean;
  readonly denied?: boolean;
  readonly loginsRefused?: boolean;
  readonly quotaPerSecond?: number;
  readonly stalled?: boolean;
  readonly down?: boolean;
}

export interface HttpKmsOptions {
  /** Life of a token; 300 s when absent. */
  readonly tokenSeconds?: number;
}

/** The service of `examples/backend-http`, as a process, with a key named `kms`. */
export class HttpKms {
  static readonly key = 'kms';
  /** A name that its certificate bears and that no DNS knows. */
  static readonly host = 'kms.example.test';
  readonly port: number;
  /** The CA and the certificate that clients see, PEM. */
  readonly tls: ServerTls;
  readonly caFile: string;
  readonly clientSecret: string;
  readonly clientSecretFile: string;
  readonly #directory: string;
  readonly #adminPort: number;
  readonly #tokenSeconds: number;
  #process: Process | undefined;

  private constructor(
    directory: string,
    ports: { readonly port: number; readonly adminPort: number },
    secrets: { readonly tls: ServerTls; readonly clientSecret: string; readonly tokenSeconds: number },
  ) {
    this.#directory = directory;
    this.port = ports.port;
    this.#adminPort = ports.adminPort;
    this.tls = secrets.tls;
    this.clientSecret = secrets.clientSecret;
    this.#tokenSeconds = secrets.tokenSeconds;
    this.caFile = path.join(directory, 'ca.pem');
    this.clientSecretFile = path.join(directory, 'client-secret');
  }

  /** Starts on an empty state, with the key made. */
  static async start(directory: string, { tokenSeconds = 300 }: HttpKmsOptions = {}): Promise<HttpKms> {
    await mkdir(directory, { recursive: true });
    const authority = new TestAuthority('ca of the http kms');
    const { cert, key } = authority.issue(['localhost', '127.0.0.1', HttpKms.host]);
    const ports = { port: await freePort(), adminPort: await freePort() };
    const clientSecret = randomBytes(18).toString('base64url');
    const kms = new HttpKms(directory, ports, { tls: { ca: authority.cert, cert, key }, clientSecret, tokenSeconds });
    await writeFile(kms.caFile, authority.cert, { mode: 0o644 });
    await writeFile(path.join(directory, 'server.pem'), cert);
    await writeFile(path.join(directory, 'server-key.pem'), key, { mode: 0o600 });
    await writeFile(kms.clientSecretFile, `${clientSecret}\n`, { mode: 0o600 });
    await kms.restart();
    await kms.operate('create');
    return kms;
  }

  /** Ends the process, if there is one, and starts it again on the same state. Tokens are forgotten. */
  async restart(): Promise<void> {
    await this.stop();
    const { exampleDirectory } = await installedPackages();
    const file = (name: string): string => path.join(this.#directory, name);
    this.#process = await Process.start({
      name: 'http kms',
      command: process.execPath,
      args: [
        path.join(exampleDirectory, 'dist/service/main.js'),
        `--state=${file('state.json')}`,
        `--cert=${file('server.pem')}`,
        `--key=${file('server-key.pem')}`,
        `--client-secret-file=${this.clientSecretFile}`,
        `--token-seconds=${this.#tokenSeconds}`,
        `--port=${this.port}`,
        `--admin-port=${this.#adminPort}`,
      ],
      logPath: file('http-kms.log'),
    });
    await this.#process.untilReady(async () => {
      await this.trouble({});
      return true;
    }, startTimeoutMs);
  }

  async operate(operation: 'create' | 'rotate' | 'destroy-old-versions' | 'replace'): Promise<void> {
    await this.#admin('POST', operation, { key: HttpKms.key });
  }

  /** What is wrong from now on; `{}` is nothing. */
  async trouble(troubles: Troubles): Promise<void> {
    await this.#admin('PUT', 'troubles', troubles);
  }

  async stop(): Promise<void> {
    await this.#process?.stop();
    this.#process = undefined;
  }

  async #admin(method: string, operation: string, body: unknown): Promise<void> {
    const url = `http://127.0.0.1:${this.#adminPort}/${operation}`;
    const answer = await fetch(url, { method, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`http kms: ${method} ${operation}: ${answer.status} ${await answer.text()}`);
  }
}
