import { stat } from 'node:fs/promises';
import { ConfigError, systemErrorText, type BackendModule } from '@sealwax/core';
import { hsmConfig, type HsmConfig } from './config.js';
import { HsmBackend } from './hsm-backend.js';
import { Supervisor } from './supervisor.js';

export type { HsmConfig } from './config.js';

const OTHERS_MAY_WRITE = 0o022;

/** Hardware security modules, TPMs and software tokens that speak PKCS #11. */
export const backend: BackendModule<HsmConfig> = {
  apiVersion: 1,
  config: hsmConfig,
  async open(config, host) {
    await refuseUntrustedModule(config.module);
    const supervisor = new Supervisor(config, host);
    try {
      await supervisor.open(host.signal);
    } catch (error) {
      await supervisor.close();
      throw error;
    }
    return new HsmBackend(config, supervisor);
  },
};

/** Whoever can write to the module runs as us and holds the key. */
async function refuseUntrustedModule(path: string): Promise<void> {
  const stats = await stat(path).catch((error: unknown) => {
    throw new ConfigError('module', systemErrorText(error), { cause: error });
  });
  const ours = process.geteuid?.() ?? stats.uid;
  if (!stats.isFile()) throw new ConfigError('module', 'not a regular file');
  if (stats.uid !== 0 && stats.uid !== ours)
    throw new ConfigError('module', `belongs to uid ${stats.uid}; only root and uid ${ours} are trusted`);
  if ((stats.mode & OTHERS_MAY_WRITE) !== 0) throw new ConfigError('module', 'others than its owner may write to it');
}
