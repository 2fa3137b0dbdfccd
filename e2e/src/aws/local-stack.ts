import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { freePort } from '../free-port.js';
import { Process } from '../process.js';
import { pythonEnvironment } from './python.js';

/**
 * LocalStack's KMS and STS on loopback: real AES-GCM, real rotation on demand, `CurrentKeyMaterialId`. It looks at no signature and enforces no
 * policy; the account is the access key id where that has 12 digits.
 */
export class LocalStack {
  readonly port: number;
  readonly url: string;
  readonly #process: Process;

  private constructor(port: number, process: Process) {
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
    this.#process = process;
  }

  /** @param directory - for its state and its log */
  static async start(directory: string): Promise<LocalStack> {
    const { python } = await pythonEnvironment('localstack');
    const port = await freePort();
    const root = path.join(directory, 'localstack');
    await mkdir(root, { recursive: true });
    const process = await Process.start({
      name: 'LocalStack',
      command: python,
      args: ['-m', 'localstack.runtime.main'],
      logPath: path.join(directory, 'localstack.log'),
      env: {
        SERVICES: 'kms,sts,iam',
        STRICT_SERVICE_LOADING: '1',
        GATEWAY_LISTEN: `127.0.0.1:${port}`,
        // The other gateway listens on every interface.
        GATEWAY_SERVER: 'hypercorn',
        FILESYSTEM_ROOT: root,
        HOME: root,
        OVERRIDE_IN_DOCKER: '0',
        DNS_ADDRESS: '0',
        // Nothing outside of this machine.
        DISABLE_EVENTS: '1',
        SKIP_SSL_CERT_DOWNLOAD: '1',
        MOTO_IAM_LOAD_MANAGED_POLICIES: 'false',
      },
    });
    const stack = new LocalStack(port, process);
    await process.untilReady(async () => (await fetch(`${stack.url}/_localstack/health`)).ok, 90_000);
    return stack;
  }

  async stop(): Promise<void> {
    // It holds nothing that is worth a graceful end, which takes seconds.
    await this.#process.kill();
  }
}
