import { failureOf } from '@sealwax/core/conformance';
import {
  GenerateDataKeyCommand,
  KMSClient,
  PutKeyPolicyCommand,
  ScheduleKeyDeletionCommand,
} from '@aws-sdk/client-kms';
import { backend } from '@sealwax/backend-aws';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { MiniStack } from '../../src/aws/mini-stack.js';
import { openAws, roundTrip } from '../../src/aws/open-aws.js';
import { awsShell, type AwsShell } from '../../src/aws/shell.js';
import { codeBlocks } from '../../src/code-blocks.js';
import { testDirectory } from '../../src/test-directory.js';

const page = 'backends/aws.md';
const region = 'eu-central-1';
const { signal } = new AbortController();

let directory: string;
let miniStack: MiniStack;
let root: AwsShell;
let key: string;
let config: Readonly<Record<string, unknown>>;
let user: { readonly accessKeyId: string; readonly secretAccessKey: string };
let keyPolicyBlock: string;

const asUser = () => new KMSClient({ region, endpoint: miniStack.url, credentials: user });
const denied = expect.objectContaining({ name: 'AccessDeniedException' });

beforeAll(async () => {
  directory = await testDirectory('aws-docs');
  miniStack = await MiniStack.start(directory);
  const endpoint = miniStack.url;
  root = await awsShell({ endpoint, region, accessKeyId: 'test', secretAccessKey: 'test', directory });
  const secrets = path.join(directory, 'secrets');
  const blocks = await codeBlocks(page, 'sh test');
  keyPolicyBlock = blocks.at(-1)!;
  // Whoever reads the page may stop before the key policy.
  const printed = await root.run(blocks.slice(0, -1).join('\n'), { SECRETS: secrets });
  key = printed.split('\n').at(-1)!;
  const accessKeyIdFile = path.join(secrets, 'aws-access-key-id');
  const secretAccessKeyFile = path.join(secrets, 'aws-secret-access-key');
  const auth = { method: 'files', accessKeyIdFile, secretAccessKeyFile };
  config = { key, endpoint, auth };
  user = {
    accessKeyId: (await readFile(accessKeyIdFile, 'utf8')).trim(),
    secretAccessKey: (await readFile(secretAccessKeyFile, 'utf8')).trim(),
  };
});
afterAll(() => miniStack.stop());

test('the commands of the page make a key and a user that the backend works with', async () => {
  expect(key).toMatch(/^arn:aws:kms:eu-central-1:\d{12}:key\//);
  const { aws } = await openAws(config);
  expect(await aws.currentKekId(signal)).toMatch(/#[0-9a-f]{64}$/);
  await roundTrip(aws);
});

test('the IAM policy of the page allows nothing else, and no other key', async () => {
  const kms = asUser();
  await expect(kms.send(new GenerateDataKeyCommand({ KeyId: key, KeySpec: 'AES_256' }))).rejects.toEqual(denied);
  await expect(kms.send(new ScheduleKeyDeletionCommand({ KeyId: key }))).rejects.toEqual(denied);
  await expect(kms.send(new PutKeyPolicyCommand({ KeyId: key, Policy: '{}' }))).rejects.toEqual(denied);
  const other = await root.run('aws kms create-key --query KeyMetadata.Arn --output text');
  const { aws } = await openAws({ ...config, key: other });
  for (const call of [aws.currentKekId(signal), aws.wrap(new Uint8Array(32), signal)])
    expect((await failureOf(call)).code).toBe('permission-denied');
});

test('a right that is taken away is a refusal, and works again without a restart when it is given back', async () => {
  const { aws } = await openAws(config);
  await roundTrip(aws);
  const wrapped = await aws.wrap(new Uint8Array(32), signal);
  const names =
    'NAME=sealwax-prod-1; POLICY=$(aws iam list-attached-user-policies --user-name $NAME --query "AttachedPolicies[0].PolicyArn" --output text)';
  const policy = await root.run(
    `${names}; aws iam detach-user-policy --user-name $NAME --policy-arn $POLICY; echo $POLICY`,
  );
  expect((await failureOf(aws.unwrap(wrapped, signal))).code).toBe('permission-denied');
  await root.run(`aws iam attach-user-policy --user-name sealwax-prod-1 --policy-arn ${policy}`);
  await aws.unwrap(wrapped, signal);
});

test('the key policy of the page is enough by itself, and shuts out who may use every key by IAM', async () => {
  const everything = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"}]}';
  const [accessKeyId = '', secretAccessKey = ''] = (
    await root.run(`
      aws iam create-user --user-name everything > /dev/null
      aws iam put-user-policy --user-name everything --policy-name all --policy-document '${everything}'
      aws iam create-access-key --user-name everything --query 'AccessKey.[AccessKeyId,SecretAccessKey]' --output text`)
  ).split(/\s+/);
  const other = new KMSClient({ region, endpoint: miniStack.url, credentials: { accessKeyId, secretAccessKey } });
  const use = () => other.send(new GenerateDataKeyCommand({ KeyId: key, KeySpec: 'AES_256' }));
  await use();
  await root.run(`
    NAME=sealwax-prod-1
    KEY=${key}
    ACCOUNT=$(aws sts get-caller-identity --query Account --output text)
    POLICY=$(aws iam list-attached-user-policies --user-name $NAME --query 'AttachedPolicies[0].PolicyArn' --output text)
    aws iam detach-user-policy --user-name $NAME --policy-arn $POLICY
    ${keyPolicyBlock}`);
  await expect(use()).rejects.toEqual(denied);
  const { aws } = await openAws(config);
  await roundTrip(aws);
  await expect(asUser().send(new GenerateDataKeyCommand({ KeyId: key, KeySpec: 'AES_256' }))).rejects.toEqual(denied);
});

const configFile = z.object({ keys: z.array(z.object({ backend: z.literal('aws'), config: z.unknown() })) });

test('each config of the page is one that the backend takes', async () => {
  const files = (await codeBlocks(page, 'yaml test')).flatMap((block) => configFile.parse(parse(block)).keys);
  expect(files).toHaveLength(3);
  for (const { config: section } of files)
    expect((await backend.config['~standard'].validate(section)).issues).toBeUndefined();
  for (const block of await codeBlocks(page, 'yaml test auth')) {
    const auth: unknown = parse(block);
    expect((await backend.config['~standard'].validate({ key, auth })).issues).toBeUndefined();
  }
});

test('the table of the page names every key of the config', async () => {
  const standard: object = backend.config['~standard'];
  const { jsonSchema } = standard as { readonly jsonSchema: { readonly input: (options: object) => unknown } };
  const schema = z
    .object({ properties: z.record(z.string(), z.unknown()) })
    .parse(jsonSchema.input({ target: 'draft-2020-12' }));
  const text = await readFile(path.resolve(import.meta.dirname, '../../../docs', page), 'utf8');
  const [, table = ''] = /\n## Config\n([\s\S]*?)\n## /.exec(text) ?? [];
  for (const name of Object.keys(schema.properties)) expect(table).toContain(`\`${name}\``);
});
