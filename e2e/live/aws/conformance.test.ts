import { conformanceCases } from '@sealwax/core/conformance';
import { afterAll, test } from 'vitest';
import { startLiveAccount } from '../../src/aws/live-account.js';

const account = await startLiveAccount('kit');
afterAll(() => account.stop());

for (const { name, skip, run } of conformanceCases(account.harness)) {
  test.skipIf(skip !== undefined)(name, { timeout: 600_000 }, async () => run());
}
