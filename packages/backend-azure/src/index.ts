import type { BackendModule } from '@sealwax/core';
import { azureConfig, type AzureConfig } from './config.js';

export type { AzureConfig } from './config.js';

/** Azure Key Vault and Managed HSM. */
export const backend: BackendModule<AzureConfig> = {
  apiVersion: 1,
  config: azureConfig,
  async open(config, host) {
    // The SDK is loaded only when it is used: `sealwax check` of a file, and its schema, need none of it.
    const { AzureBackend } = await import('./azure-backend.js');
    return AzureBackend.open(config, host);
  },
};
