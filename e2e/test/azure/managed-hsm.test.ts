import { conformanceCases } from '@sealwax/core/conformance';
import { afterAll, describe, expect, test } from 'vitest';
import { openBackend } from '@sealwax/core/conformance';
import { AzureService } from '../../src/azure.js';
import { testDirectory } from '../../src/test-directory.js';

const service = await AzureService.start({
  directory: await testDirectory('azure-hsm'),
  domain: 'managedhsm.azure.net',
  keyType: 'oct-HSM',
});
afterAll(async () => service.stop());

test('an AES key of a Managed HSM wraps by AES key wrap: 8 bytes more than the local key', async () => {
  const { signal } = new AbortController();
  const opened = await openBackend(service.harness);
  const wrapped = await opened.backend.wrap(new Uint8Array(32).fill(7), signal);
  expect(wrapped.kekId).toMatch(/^https:\/\/sealwax-e2e\.managedhsm\.azure\.net\/keys\/kms\/[0-9a-f]{32}$/);
  expect(wrapped.ciphertext).toHaveLength(40);
  await opened.end();
});

describe('the conformance kit on AES key wrap', () => {
  const about = /^(wrapping|tampering|rotation|kek id)/;
  for (const { name, skip, run } of conformanceCases(service.harness).filter((one) => about.test(one.name))) {
    if (skip === undefined) test(name, { timeout: 120_000 }, run);
    else test.skip(`${name} (${skip})`);
  }
});
