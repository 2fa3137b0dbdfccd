import { conformanceCases } from '@sealwax/core/conformance';
import { afterAll, describe, test } from 'vitest';
import { startNss } from '../../src/pkcs11/nss.js';
import { testDirectory } from '../../src/test-directory.js';

const { harness, stop } = await startNss(await testDirectory('nss'));
afterAll(stop);

describe('the conformance kit on NSS softokn', () => {
  for (const { name, skip, run } of conformanceCases(harness)) {
    if (skip === undefined) test(name, { timeout: 120_000 }, run);
    else test.skip(`${name} (${skip})`);
  }
});
