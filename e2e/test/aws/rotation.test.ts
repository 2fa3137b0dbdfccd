import { KMSClient, ReplicateKeyCommand } from '@aws-sdk/client-kms';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { region, startAwsCounterpart, type AwsCounterpart } from '../../src/aws/aws-harness.js';
import { describeRotation, startPlugin } from '../../src/aws/describe-rotation.js';
import { KmsAdmin } from '../../src/aws/kms-admin.js';
import { testDirectory } from '../../src/test-directory.js';

const replicaRegion = 'eu-west-1';

let root: string;
let aws: AwsCounterpart;
beforeAll(async () => {
  root = await testDirectory('aws-keys');
  const directory = path.join(root, 'service');
  await mkdir(directory);
  aws = await startAwsCounterpart(directory);
});
afterAll(() => aws.stop());

describeRotation('aws', () =>
  // The service of this file, which outlives the tests.
  Promise.resolve({ config: aws.config, admin: aws.admin, stop: () => Promise.resolve() }),
);

test('a replica in another region opens what the primary cannot be asked for', async () => {
  const { url } = aws.localStack;
  const credentials = { accessKeyId: '111122223333', secretAccessKey: 'not checked' };
  const client = new KMSClient({ region, endpoint: url, credentials });
  const primary = await KmsAdmin.create(client, 'alias/primary', { MultiRegion: true });
  await client.send(new ReplicateKeyCommand({ KeyId: primary.keyArn, ReplicaRegion: replicaRegion }));
  const keys = [
    { name: 'prod', backend: 'aws', config: { ...aws.config, key: primary.keyArn } },
    {
      name: 'replica',
      backend: 'aws',
      role: 'recover',
      config: { ...aws.config, endpoint: url, key: primary.keyArn.replace(region, replicaRegion) },
    },
  ];
  const { plugin, seeds } = await startPlugin(path.join(root, 'replica'), { keys });
  const kekIds = (await plugin.keys()).keys.map(({ kekId = '' }) => kekId.split('#'));
  expect(kekIds[0]?.[0]).toBe(primary.keyArn);
  expect(kekIds[1]?.[0]).toBe(primary.keyArn.replace(region, replicaRegion));
  expect(kekIds[1]?.[1], 'the same material').toBe(kekIds[0]?.[1]);
  await plugin.stop();
  await aws.proxy.set({ kind: 'refuse' });
  try {
    await plugin.start();
    await plugin.untilOk();
    await seeds.readAll();
  } finally {
    await aws.proxy.set({ kind: 'pass' });
  }
});

test('when nothing happens, a probe is two calls', async () => {
  const intervalSeconds = 1;
  const { plugin } = await startPlugin(path.join(root, 'idle'), {
    keys: [{ name: 'prod', backend: 'aws', config: aws.config }],
    probe: { intervalSeconds },
  });
  const watchedSeconds = 6;
  const before = aws.proxy.requests;
  await delay(watchedSeconds * 1_000);
  const calls = aws.proxy.requests - before;
  expect(calls).toBeGreaterThanOrEqual(watchedSeconds / intervalSeconds);
  expect(calls).toBeLessThanOrEqual(2 * (watchedSeconds / intervalSeconds + 1));
  expect((await plugin.client.status()).healthz).toBe('ok');
});

test('the built server loads the credentials that the config asks for', async () => {
  const auth = {
    method: 'assume-role',
    source: aws.config['auth'],
    roles: [{ roleArn: 'arn:aws:iam::111122223333:role/sealwax' }],
  };
  const config = { ...aws.config, auth, stsEndpoint: aws.localStack.url };
  const { plugin } = await startPlugin(path.join(root, 'assumed'), {
    keys: [{ name: 'prod', backend: 'aws', config }],
  });
  expect((await plugin.keys()).keys[0]?.state).toBe('ready');
});
