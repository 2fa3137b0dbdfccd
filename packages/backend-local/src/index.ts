import type { BackendModule } from '@sealwax/core';
import { localConfig, type LocalConfig } from './config.js';
import { LocalBackend } from './local-backend.js';

export type { LocalConfig } from './config.js';

/** The embedded backend: its KEK is a versioned key file, for development, CI and single nodes with an encrypted disk. */
export const backend: BackendModule<LocalConfig> = {
  apiVersion: 1,
  config: localConfig,
  async open(config, host) {
    const opened = new LocalBackend(config);
    // A key file that is missing or broken is said now, not at the first wrap.
    await opened.currentKekId(host.signal);
    return opened;
  },
};
