import type { BackendModule } from '@sealwax/core';
import { vaultConfig, type VaultConfig } from './config.js';

export type { VaultConfig } from './config.js';

/** HashiCorp Vault and OpenBao: the KEK is a key of the transit engine. */
export const backend: BackendModule<VaultConfig> = {
  apiVersion: 1,
  config: vaultConfig,
  async open(config, host) {
    // The client is loaded only when it is used: `sealwax check` of a file, and its schema, need none of it.
    const { openVault } = await import('./open-vault.js');
    return openVault(config, host);
  },
};
