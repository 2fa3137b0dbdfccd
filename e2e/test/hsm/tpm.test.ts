import { conformanceCases } from '@sealwax/core/conformance';
import { afterAll, describe, test } from 'vitest';
import { startTpm } from '../../src/pkcs11/tpm-harness.js';
import { testDirectory } from '../../src/test-directory.js';

for (const mechanism of ['aes-cbc-hmac', 'rsa-oaep'] as const) {
  const { harness, stop } = await startTpm(await testDirectory(`tpm-${mechanism}`), mechanism);
  afterAll(stop);
  describe(`the conformance kit on a TPM with ${mechanism}`, () => {
    for (const { name, skip, run } of conformanceCases(harness)) {
      if (skip === undefined) test(name, { timeout: 120_000 }, run);
      else test.skip(`${name} (${skip})`);
    }
  });
}
