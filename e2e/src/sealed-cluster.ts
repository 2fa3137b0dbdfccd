import { Cluster } from './cluster.js';
import { sealwaxOnly } from './encryption-configuration.js';
import { Sealwax, type SealwaxOptions } from './sealwax.js';
import { testDirectory } from './test-directory.js';

/** A ready cluster whose only encryption provider is a running plugin. */
export interface SealedCluster {
  readonly cluster: Cluster;
  readonly sealwax: Sealwax;
  readonly stop: () => Promise<void>;
}

/** @param name - of the directory, unique within the group */
export async function startSealedCluster(name: string, options: SealwaxOptions = {}): Promise<SealedCluster> {
  const directory = await testDirectory(name);
  const sealwax = await Sealwax.configure(directory, options);
  await sealwax.init();
  await sealwax.start();
  await sealwax.untilOk();
  const cluster = await Cluster.prepare({ directory, encryption: sealwaxOnly(sealwax.socketPath) });
  await cluster.startApiServer();
  return {
    cluster,
    sealwax,
    stop: async () => {
      await cluster.stop();
      await sealwax.stop();
      sealwax.client.close();
    },
  };
}
