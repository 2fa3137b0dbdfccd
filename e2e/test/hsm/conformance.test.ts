import { conformanceCases } from '@sealwax/core/conformance';
import { afterAll, describe, test } from 'vitest';
import { startSoftHsm } from '../../src/pkcs11/softhsm-harness.js';
import { testDirectory } from '../../src/test-directory.js';

const mechanisms = ['aes-gcm', 'aes-cbc-hmac', 'aes-key-wrap-pad', 'rsa-oaep'] as const;

for (const mechanism of mechanisms) {
  const { harness, stop } = await startSoftHsm(await testDirectory(`kit-${mechanism}`), mechanism);
  afterAll(stop);
  describe(`the conformance kit on SoftHSM with ${mechanism}`, () => {
    for (const { name, skip, run } of conformanceCases(harness)) {
      if (skip === undefined) test(name, { timeout: 120_000 }, run);
      else test.skip(`${name} (${skip})`);
    }
  });
}
