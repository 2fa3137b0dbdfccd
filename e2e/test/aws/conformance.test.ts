import { conformanceCases } from '@sealwax/core/conformance';
import { afterAll, test } from 'vitest';
import { startAwsCounterpart, type AwsCounterpart } from '../../src/aws/aws-harness.js';
import { testDirectory } from '../../src/test-directory.js';

const aws: AwsCounterpart = await startAwsCounterpart(await testDirectory('aws-conformance'));
afterAll(() => aws.stop());

for (const { name, skip, run } of conformanceCases(aws.harness)) {
  test.skipIf(skip !== undefined)(name, async () => run());
}
