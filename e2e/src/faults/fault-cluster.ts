import { readFile } from 'node:fs/promises';
import { Cluster, type ApiServerState } from '../cluster.js';
import type { EncryptedObject } from '../encrypted-object.js';
import { sealwaxOnly } from '../encryption-configuration.js';
import { Sealwax, type ConfigSections, type SealwaxOptions } from '../sealwax.js';
import { storageKey, storedObjects } from '../stored-objects.js';
import { testDirectory } from '../test-directory.js';
import { waitFor } from '../wait-for.js';
import { WriteLoad } from '../write-load.js';

const patience = { timeoutMs: 120_000, intervalMs: 500 };

/** A cluster whose only encryption provider is a plugin with any config, and what tests of faults ask of both. */
export class FaultCluster {
  readonly cluster: Cluster;
  readonly plugin: Sealwax;
  #writes = 0;
  readonly #acknowledged: string[] = [];

  private constructor(cluster: Cluster, plugin: Sealwax) {
    this.cluster = cluster;
    this.plugin = plugin;
  }

  /**
   * @param name - of the directory, unique within the group
   * @param sections - of the config file; a function gets the plugin, whose key file is made
   */
  static async start(
    name: string,
    sections: (plugin: Sealwax) => ConfigSections,
    options: SealwaxOptions = {},
  ): Promise<FaultCluster> {
    const directory = await testDirectory(name);
    const plugin = await Sealwax.configure(directory, options);
    await plugin.init();
    await plugin.writeConfig(sections(plugin));
    await plugin.start();
    await plugin.untilOk();
    const cluster = await Cluster.prepare({ directory, encryption: sealwaxOnly(plugin.socketPath) });
    await cluster.startApiServer();
    return new FaultCluster(cluster, plugin);
  }

  /** A Secret with a name and a value of its own; the name. */
  async write(): Promise<string> {
    this.#writes += 1;
    const name = `secret-${this.#writes}`;
    await this.cluster.client.create('secrets', { name, data: { value: `value of ${name}` } });
    this.#acknowledged.push(name);
    return name;
  }

  /** Reads everything whose writing was confirmed; throws when one does not come back as it was. */
  async readAll(): Promise<void> {
    const found = new Map((await this.cluster.client.list('secrets')).map(({ name, data }) => [name, data['value']]));
    for (const name of this.#acknowledged) {
      if (found.get(name) !== `value of ${name}`) throw new Error(`${name} came back as ${String(found.get(name))}`);
    }
  }

  /** Reads one Secret of the `write`s past every list that the API server keeps; throws when it does not come back as it was. */
  async read(name: string): Promise<void> {
    const { data } = await this.cluster.client.get('secrets', name);
    if (data['value'] !== `value of ${name}`) throw new Error(`${name} came back as ${String(data['value'])}`);
  }

  /** How etcd holds a Secret. */
  async stored(name: string): Promise<EncryptedObject> {
    const object = (await storedObjects(this.cluster.etcd)).get(storageKey('secrets', name));
    if (object === undefined) throw new Error(`etcd holds no Secret ${name}`);
    return object;
  }

  /** Writes every object that the API server encrypts back as it is. */
  async rewriteAll(): Promise<void> {
    await this.cluster.client.rewriteAll('secrets');
    await this.cluster.client.rewriteAll('configmaps');
  }

  /** Changes the config of the running plugin and waits until it is in force, or refused. */
  async reload(sections: ConfigSections, outcome: 'ok' | 'refused' = 'ok'): Promise<void> {
    const count = async (): Promise<number> =>
      (await this.plugin.metrics()).sum('sealwax_config_reloads_total', { outcome });
    const before = await count();
    await this.plugin.writeConfig(sections);
    this.plugin.hangUp();
    await waitFor(async () => (await count()) > before, { what: `the config to be ${outcome}`, ...patience });
  }

  /** Everything that the plugin has logged. */
  async log(): Promise<string> {
    return readFile(this.plugin.logPath, 'utf8');
  }

  /** Ends plugin and API server and starts them again, as after a power cut of the whole node. `between` runs while both are down. */
  async coldStart(
    between: () => Promise<void> = async () => Promise.resolve(),
    until: ApiServerState = 'ready',
  ): Promise<void> {
    await this.cluster.stopApiServer();
    await this.plugin.stop();
    await between();
    await this.plugin.start();
    await this.cluster.startApiServer(until);
  }

  /** Under which key id etcd holds a Secret. */
  async storedKeyId(name: string): Promise<string> {
    return (await this.stored(name)).keyId;
  }

  /** Writes Secrets until one is stored under another key id than `keyId`; that id. */
  async untilStoredUnderAnother(keyId: string): Promise<string> {
    return waitFor(
      async () => {
        // The API server polls Status once a minute; being asked whether it is ready makes it look sooner.
        await this.cluster.client.probe('/readyz');
        const stored = await this.storedKeyId(await this.write());
        return stored !== keyId && stored;
      },
      { what: 'a Secret under another key id', ...patience },
    );
  }

  /** Waits until the API server's `/readyz` answers so. */
  async untilReadyz(status: 200 | 500): Promise<string> {
    return waitFor(
      async () => {
        const answer = await this.cluster.client.probe('/readyz');
        return answer.status === status && answer.body;
      },
      { what: `/readyz of the API server to answer ${status}`, ...patience },
    );
  }

  startLoad(prefix: string): WriteLoad {
    return new WriteLoad(this.cluster.client, prefix);
  }

  /** Ends the load and reads all that it wrote. */
  async endLoad(load: WriteLoad): Promise<void> {
    await load.stop();
    await this.readLoad(load);
  }

  /** Reads all that a load wrote; throws when an acknowledged write is not there. How many there are. */
  async readLoad({ acknowledged }: WriteLoad): Promise<number> {
    const found = new Map((await this.cluster.client.list('secrets')).map(({ name, data }) => [name, data['value']]));
    for (const [name, value] of acknowledged) {
      if (found.get(name) !== value) throw new Error(`an acknowledged write is lost: ${name}`);
    }
    return acknowledged.size;
  }

  async stop(): Promise<void> {
    await this.cluster.stop();
    await this.plugin.stop();
    this.plugin.client.close();
  }
}
