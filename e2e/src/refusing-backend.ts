import { access } from 'node:fs/promises';
import { backend as local, type LocalConfig } from '@sealwax/backend-local';
import { BackendError, type BackendModule } from '@sealwax/core';

/**
 * The local backend with a switch, for a plugin to load by path: while a file `disabled` lies beside the key file, it refuses.
 *
 * It speaks to nobody, so that all copies of a local key in the plugin's memory are the plugin's own.
 */
export const backend: BackendModule<LocalConfig> = {
  apiVersion: 1,
  config: local.config,
  async open(config, host) {
    const opened = await local.open(config, host);
    const refuseIfDisabled = async (): Promise<void> => {
      const isDisabled = await access(`${config.path}.disabled`).then(
        () => true,
        () => false,
      );
      if (isDisabled) throw new BackendError('key-disabled', 'refusing: the key is disabled');
    };
    return {
      currentKekId: (signal) => opened.currentKekId(signal),
      wrap: async (plaintext, signal) => {
        await refuseIfDisabled();
        return opened.wrap(plaintext, signal);
      },
      unwrap: async (wrapped, signal) => {
        await refuseIfDisabled();
        return opened.unwrap(wrapped, signal);
      },
      close: () => opened.close(),
    };
  },
};
