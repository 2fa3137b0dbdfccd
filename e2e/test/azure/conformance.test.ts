import { conformanceCases } from '@sealwax/core/conformance';
import { afterAll, describe, test } from 'vitest';
import { AzureService } from '../../src/azure.js';
import { testDirectory } from '../../src/test-directory.js';

const service = await AzureService.start({ directory: await testDirectory('azure-conformance') });
afterAll(async () => service.stop());

describe('the conformance kit', () => {
  for (const { name, skip, run } of conformanceCases(service.harness)) {
    if (skip === undefined) test(name, { timeout: 120_000 }, run);
    else test.skip(`${name} (${skip})`);
  }
});
