import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { freePort } from '../free-port.js';
import { Process } from '../process.js';
import { pythonEnvironment } from './python.js';

/**
 * MiniStack's IAM, STS and KMS on loopback: signatures, sessions, IAM policies and key policies are enforced as AWS does; `test`/`test` is the root
 * of account 000000000000. Its ciphertexts are not authenticated: for identity only.
 */
export class MiniStack {
  readonly port: number;
  readonly url: string;
  readonly #process: Process;

  private constructor(port: number, process: Process) {
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
    this.#process = process;
  }

  /** @param directory - for its state and its log */
  static async start(directory: string): Promise<MiniStack> {
    const { python } = await pythonEnvironment('ministack');
    const port = await freePort();
    const home = path.join(directory, 'ministack');
    await mkdir(home, { recursive: true });
    const process = await Process.start({
      name: 'MiniStack',
      command: python,
      args: ['-m', 'ministack'],
      logPath: path.join(directory, 'ministack.log'),
      env: {
        BIND_HOST: '127.0.0.1',
        GATEWAY_PORT: String(port),
        SERVICES: 'kms,sts,iam',
        AUTH: 'true',
        MINISTACK_IMDS_V2_REQUIRED: '1',
        HOME: home,
      },
    });
    const stack = new MiniStack(port, process);
    await process.untilReady(async () => (await fetch(`${stack.url}/_ministack/health`)).ok, 60_000);
    return stack;
  }

  async stop(): Promise<void> {
    await this.#process.kill();
  }
}
