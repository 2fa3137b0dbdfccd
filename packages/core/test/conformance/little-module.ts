import type { BackendModule } from '@sealwax/core';
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { FLAWS } from './flaws/all.js';
import { LittleBackend, type LittleConfig } from './little-backend.js';

const KEYS = ['socket', 'tokenFile', 'flaw'];

const config: StandardSchemaV1<unknown, LittleConfig> = {
  '~standard': {
    version: 1,
    vendor: 'little',
    validate(value) {
      if (typeof value !== 'object' || value === null) return { issues: [{ message: 'must be an object' }] };
      const unknown = Object.keys(value).filter((key) => !KEYS.includes(key));
      const missing = ['socket', 'tokenFile'].filter((key) => !(key in value));
      const issues = [...unknown, ...missing].map((key) => ({ message: 'unknown or missing', path: [key] }));
      return issues.length > 0 ? { issues } : { value: value as LittleConfig };
    },
  },
};

/** The good backend; with `flaw` in its config, one that a vendor should not ship. */
export const backend: BackendModule<LittleConfig> = {
  apiVersion: 1,
  config,
  async open(settings, host) {
    const good = new LittleBackend(settings, host);
    const flaw = settings.flaw === undefined ? undefined : FLAWS[settings.flaw];
    if (flaw?.open !== undefined) await flaw.open(good, host);
    else await good.currentKekId(host.signal);
    return {
      currentKekId: (signal) => good.currentKekId(signal),
      wrap: (plaintext, signal) => good.wrap(plaintext, signal),
      unwrap: (wrapped, signal) => good.unwrap(wrapped, signal),
      close: () => good.close(),
      ...flaw?.spoil(good, { host, config: settings }),
    };
  },
};
