import type { BackendModule } from '@sealwax/core';
import { httpConfig, type HttpConfig } from './config.js';
import { HttpBackend } from './http-backend.js';

/** What Sealwax imports. */
export const backend: BackendModule<HttpConfig> = {
  apiVersion: 1,
  config: httpConfig,
  async open(config, host) {
    const opened = new HttpBackend(config, host, await host.httpsAgent({ caFile: config.caFile }));
    // A wrong address, credential or key is said now, not at the first wrap.
    await opened.currentKekId(host.signal);
    return opened;
  },
};
