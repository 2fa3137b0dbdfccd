import type { BackendModule } from '@sealwax/core';
import { gcpConfig, type GcpConfig } from './config.js';

export type { GcpConfig } from './config.js';

/** Google Cloud KMS. */
export const backend: BackendModule<GcpConfig> = {
  apiVersion: 1,
  config: gcpConfig,
  async open(config, host) {
    // The client is loaded only when it is used: `sealwax check` of a file, and its schema, need none of it.
    const { GcpBackend } = await import('./gcp-backend.js');
    return GcpBackend.open(config, host);
  },
};
