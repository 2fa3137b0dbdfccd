import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { cached } from './cache.js';
import { EtcdClient } from './etcd-client.js';
import { freePort } from './free-port.js';
import { announced, buildArguments, counterparts, go } from './go.js';
import { Process } from './process.js';

const source = path.join(counterparts, 'etcd');

/** Path of the etcd binary; built when it is not in the cache. */
export async function etcdBinary(): Promise<string> {
  const args = [...buildArguments, '-ldflags', '-s -w'];
  const files = await Promise.all(['main.go', 'go.mod', 'go.sum'].map((name) => readFile(path.join(source, name))));
  return cached({
    name: 'etcd',
    inputs: [...files, args.join(' ')],
    make: async (target) => {
      await announced('building etcd', () => go([...args, '-o', target, '.'], source));
    },
  });
}

/** A single-member etcd on loopback. */
export class Etcd {
  readonly clientUrl: string;
  readonly client: EtcdClient;
  readonly dataDirectory: string;
  readonly #process: Process;

  private constructor(clientUrl: string, dataDirectory: string, process: Process) {
    this.clientUrl = clientUrl;
    this.client = new EtcdClient(clientUrl);
    this.dataDirectory = dataDirectory;
    this.#process = process;
  }

  /** Starts on the data that lie in `directory`, if any. Resolves when it answers. */
  static async start(directory: string): Promise<Etcd> {
    const binary = await etcdBinary();
    const clientUrl = `http://127.0.0.1:${await freePort()}`;
    const peerUrl = `http://127.0.0.1:${await freePort()}`;
    const dataDirectory = path.join(directory, 'etcd');
    await mkdir(dataDirectory, { recursive: true, mode: 0o700 });
    const process = await Process.start({
      name: 'etcd',
      command: binary,
      args: [
        '--name=e2e',
        `--data-dir=${dataDirectory}`,
        `--listen-client-urls=${clientUrl}`,
        `--advertise-client-urls=${clientUrl}`,
        `--listen-peer-urls=${peerUrl}`,
        `--initial-advertise-peer-urls=${peerUrl}`,
        `--initial-cluster=e2e=${peerUrl}`,
        '--log-level=warn',
      ],
      logPath: path.join(directory, 'etcd.log'),
    });
    const etcd = new Etcd(clientUrl, dataDirectory, process);
    await process.untilReady(async () => (await etcd.client.list('/')).length >= 0, 30_000);
    return etcd;
  }

  async stop(): Promise<void> {
    await this.#process.stop();
  }
}
