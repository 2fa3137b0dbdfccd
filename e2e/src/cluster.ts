import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { stringify } from 'yaml';
import { Etcd } from './etcd.js';
import { freePort } from './free-port.js';
import { certificatePath, startKubeApiserver, type KubeApiserverOptions } from './kube-apiserver.js';
import { KubeClient } from './kube-client.js';
import { kubernetesUnderTest } from './kubernetes-version.js';
import type { Process } from './process.js';

/** Without its plugin an API server answers but is never ready. */
export type ApiServerState = 'ready' | 'answering';

const startTimeoutMs = 60_000;

/** One etcd and one API server on loopback, in a directory of their own. */
export class Cluster {
  readonly client: KubeClient;
  readonly etcd: Etcd;
  readonly #options: KubeApiserverOptions;
  readonly #ownsEtcd: boolean;
  #apiServer: Process | undefined;

  private constructor(etcd: Etcd, client: KubeClient, options: KubeApiserverOptions & { readonly ownsEtcd: boolean }) {
    this.etcd = etcd;
    this.#ownsEtcd = options.ownsEtcd;
    this.client = client;
    this.#options = options;
  }

  /**
   * Starts etcd and writes what the API server needs, which `startApiServer` starts.
   *
   * @param options.etcd - of another control-plane node, which keeps it, instead of one of its own
   */
  static async prepare(options: {
    readonly directory: string;
    readonly encryption: unknown;
    readonly etcd?: Etcd;
  }): Promise<Cluster> {
    const { directory } = options;
    await mkdir(directory, { recursive: true });
    const file = (name: string): string => path.join(directory, name);
    const token = randomBytes(16).toString('hex');
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const secret = { mode: 0o600 };
    await writeFile(file('tokens.csv'), `${token},admin,admin,system:masters\n`, secret);
    await writeFile(file('service-account.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }), secret);
    await writeFile(file('encryption.yaml'), stringify(options.encryption), secret);
    const port = await freePort();
    const etcd = options.etcd ?? (await Etcd.start(directory));
    return new Cluster(etcd, new KubeClient({ port, token, certificatePath: certificatePath(directory) }), {
      ownsEtcd: options.etcd === undefined,
      version: kubernetesUnderTest(),
      etcdUrl: etcd.clientUrl,
      port,
      directory,
      serviceAccountKeyPath: file('service-account.pem'),
      tokensPath: file('tokens.csv'),
      encryptionConfigPath: file('encryption.yaml'),
    });
  }

  async startApiServer(until: ApiServerState = 'ready'): Promise<void> {
    this.#apiServer = await startKubeApiserver(this.#options);
    await this.#apiServer.untilReady(async () => this.#is(until), startTimeoutMs);
  }

  async stopApiServer(): Promise<void> {
    this.client.close();
    await this.#apiServer?.stop();
    this.#apiServer = undefined;
  }

  async restartApiServer(): Promise<void> {
    await this.stopApiServer();
    await this.startApiServer();
  }

  get isApiServerAlive(): boolean {
    return this.#apiServer?.isAlive ?? false;
  }

  async stop(): Promise<void> {
    await this.stopApiServer();
    if (this.#ownsEtcd) await this.etcd.stop();
  }

  async #is(state: ApiServerState): Promise<boolean> {
    if (state === 'answering') return (await this.client.probe('/version')).status === 200;
    if ((await this.client.probe('/readyz')).status !== 200) return false;
    // Made by the API server itself shortly after its first start; objects need it.
    await this.client.call('GET', '/api/v1/namespaces/default');
    return true;
  }
}
