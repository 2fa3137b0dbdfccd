import { readFile } from 'node:fs/promises';
import type { BackendModule } from '@sealwax/core';
import type { Harness } from '@sealwax/core/conformance';
import { parse } from 'yaml';

const OWNERS = 'nothing is broken, rotated or deleted in the account of whoever runs this';

/**
 * The conformance kit’s harness for a key in a real account: the same cases, without those that break the service.
 *
 * @param variable - of the environment; names a YAML file with the key’s section of the config
 */
export async function liveHarness(module: BackendModule<unknown>, variable: string): Promise<Harness> {
  const file = process.env[variable];
  if (file === undefined) throw new Error(`${variable} must name a YAML file with the config of a key in your account`);
  return {
    module,
    config: parse(await readFile(file, 'utf8')) as unknown,
    secrets: [],
    faults: {
      rotate: OWNERS,
      stall: OWNERS,
      outage: OWNERS,
      throttle: OWNERS,
      expireCredential: OWNERS,
      deny: OWNERS,
      disable: OWNERS,
      deleteKey: OWNERS,
      destroyOldVersion: OWNERS,
      replaceKek: OWNERS,
    },
    mend: () => Promise.resolve(),
  };
}
