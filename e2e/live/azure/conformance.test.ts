import { backend } from '@sealwax/backend-azure';
import { conformanceCases } from '@sealwax/core/conformance';
import { test } from 'vitest';
import { liveHarness } from '../../src/live-harness.js';

const harness = await liveHarness(backend, 'SEALWAX_LIVE_AZURE');

for (const { name, skip, run } of conformanceCases(harness)) {
  if (skip === undefined) test(name, { timeout: 600_000 }, run);
  else test.skip(`${name} (${skip})`);
}
