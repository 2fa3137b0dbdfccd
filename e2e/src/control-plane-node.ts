import { Cluster } from './cluster.js';
import { sealwaxOnly } from './encryption-configuration.js';
import type { Etcd } from './etcd.js';
import { Sealwax, type ConfigSections } from './sealwax.js';
import { testDirectory } from './test-directory.js';

/** One of several control-plane nodes: an API server with a plugin of its own, on an etcd that all share. */
export class ControlPlaneNode {
  readonly cluster: Cluster;
  readonly plugin: Sealwax;

  private constructor(cluster: Cluster, plugin: Sealwax) {
    this.cluster = cluster;
    this.plugin = plugin;
  }

  /**
   * @param name - of the directory, unique within the group
   * @param options.etcd - of another node; one of its own when absent
   */
  static async start(
    name: string,
    { sections, etcd }: { readonly sections: (plugin: Sealwax) => ConfigSections; readonly etcd?: Etcd },
  ): Promise<ControlPlaneNode> {
    const directory = await testDirectory(name);
    const plugin = await Sealwax.configure(directory);
    await plugin.writeConfig(sections(plugin));
    await plugin.start();
    await plugin.untilOk();
    const encryption = sealwaxOnly(plugin.socketPath);
    const cluster = await Cluster.prepare({ directory, encryption, ...(etcd && { etcd }) });
    await cluster.startApiServer();
    return new ControlPlaneNode(cluster, plugin);
  }

  async write(name: string): Promise<void> {
    await this.cluster.client.create('secrets', { name, data: { value: `value of ${name}` } });
  }

  /** Values of all Secrets, by name. */
  async readAll(): Promise<ReadonlyMap<string, string | undefined>> {
    return new Map((await this.cluster.client.list('secrets')).map(({ name, data }) => [name, data['value']]));
  }

  async stop(): Promise<void> {
    await this.cluster.stop();
    await this.plugin.stop();
    this.plugin.client.close();
  }
}
