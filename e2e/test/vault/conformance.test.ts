import { conformanceCases } from '@sealwax/core/conformance';
import { afterAll, describe, test } from 'vitest';
import { startVaultKey } from '../../src/openbao/vault-key.js';
import { testDirectory } from '../../src/test-directory.js';

describe.each(['version', 'version-and-creation-time'] as const)(
  'the conformance kit, on OpenBao, kekId %s',
  async (kekId) => {
    const key = await startVaultKey(await testDirectory(`vault-kit-${kekId}`), { kekId });
    afterAll(() => key.stop());

    for (const { name, skip, run } of conformanceCases(key.harness)) {
      if (skip === undefined) test(name, run);
      else test.skip(`${name} (${skip})`);
    }
  },
);
