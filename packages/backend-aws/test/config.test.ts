import { describe, expect, test } from 'vitest';
import { awsConfig, configuredKey } from '../src/config.js';
import { KEY_ARN } from './kms-double.js';

const auth = { method: 'instance' };
const issuesOf = (config: unknown) =>
  (awsConfig.safeParse(config).error?.issues ?? []).map(({ path, message }) => `${path.join('.')}: ${message}`);

describe('the key', () => {
  test('is the ARN of a key or of an alias', () => {
    expect(configuredKey(awsConfig.parse({ key: KEY_ARN, auth }))).toMatchObject({
      region: 'eu-central-1',
      arn: KEY_ARN,
    });
    const alias = 'arn:aws-us-gov:kms:us-gov-west-1:111122223333:alias/team/sealwax';
    expect(configuredKey(awsConfig.parse({ key: alias, auth }))).toMatchObject({ partition: 'aws-us-gov', arn: alias });
  });

  test.each([
    ['alias/sealwax', 'eu-central-1', 'arn:aws:kms:eu-central-1:111122223333:alias/sealwax'],
    [
      'mrk-1234abcd12ab34cd56ef1234567890ab',
      'cn-north-1',
      'arn:aws-cn:kms:cn-north-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab',
    ],
    [
      '1234abcd-12ab-34cd-56ef-1234567890ab',
      'us-gov-west-1',
      'arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab',
    ],
  ])('named %s is in the region and account beside it', (key, region, arn) => {
    expect(configuredKey(awsConfig.parse({ key, region, account: '111122223333', auth })).arn).toBe(arn);
  });

  test.each([
    [{ key: 'alias/sealwax' }, ['region: required, because key is no ARN', 'account: required, because key is no ARN']],
    [{ key: KEY_ARN, region: 'eu-west-1' }, ['region: contradicts the ARN in key']],
    [{ key: KEY_ARN, account: '999988887777' }, ['account: contradicts the ARN in key']],
    [{ key: 'arn:aws:s3:::bucket' }, ['key: must be the ARN or the id of a KMS key, or an alias']],
    [{ key: 'arn:aws:kms:eu-central-1:111122223333:alias/aws/ebs' }, ['key: is a key that AWS manages']],
  ])('%j is refused', (part, expected) => {
    const issues = issuesOf({ auth, ...part });
    for (const issue of expected)
      expect(
        issues.some((actual) => actual.startsWith(issue)),
        issues.join(),
      ).toBe(true);
  });
});

test('plain HTTP is for loopback', () => {
  expect(issuesOf({ key: KEY_ARN, auth, endpoint: 'http://127.0.0.1:4566' })).toEqual([]);
  expect(issuesOf({ key: KEY_ARN, auth, endpoint: 'https://kms.internal' })).toEqual([]);
  for (const endpoint of ['http://kms.internal', 'http://127.0.0.1.example.com', 'ftp://127.0.0.1', 'kms.internal'])
    expect(issuesOf({ key: KEY_ARN, auth, endpoint })).toHaveLength(1);
});

test('an address and a kind of address exclude each other', () => {
  for (const option of ['fips', 'dualStack'])
    expect(issuesOf({ key: KEY_ARN, auth, endpoint: 'https://kms.internal', [option]: true })[0]).toMatch(
      new RegExp(`^${option}: not together`),
    );
});

test('the fixed entry of the encryption context cannot be set', () => {
  for (const name of ['sealwax', 'sealwax-material', 'aws:x', ''])
    expect(issuesOf({ key: KEY_ARN, auth, encryptionContext: { [name]: 'x' } })).toHaveLength(1);
});

test('credentials are asked for by name, and a profile names its file', () => {
  expect(issuesOf({ key: KEY_ARN })).toHaveLength(1);
  expect(issuesOf({ key: KEY_ARN, auth: { method: 'profile' } })).toEqual([
    'auth.credentialsFile: required, or configFile',
  ]);
  expect(
    issuesOf({ key: KEY_ARN, auth: { method: 'assume-role', source: { method: 'profile' }, roles: [] } }).length,
  ).toBeGreaterThan(0);
});

test('unknown keys are refused, and every key says what it is', () => {
  expect(issuesOf({ key: KEY_ARN, auth, kmsKeyId: 'x' })).toHaveLength(1);
  expect(issuesOf({ key: KEY_ARN, auth: { ...auth, accessKeyId: 'AKIA' } })).toHaveLength(1);
  const schema = awsConfig['~standard'].jsonSchema.input({ target: 'draft-2020-12' });
  for (const [name, property] of Object.entries(schema['properties'] as Record<string, { description?: string }>))
    expect(property.description, name).toMatch(/\w/);
});
