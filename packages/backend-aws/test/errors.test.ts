import { failureOf } from '@sealwax/core/conformance';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { expect, test } from 'vitest';
import { MEANINGS } from '../src/errors.js';
import { KEY_ARN, KmsDouble, MATERIAL, metadata } from './kms-double.js';
import { LOCAL_KEY, openAws, signal } from './open-aws.js';

const sdk = path.resolve(createRequire(import.meta.url).resolve('@aws-sdk/client-kms/package.json'), '..');
const record = { kekId: `${KEY_ARN}#${MATERIAL}`, ciphertext: LOCAL_KEY };

/** The exceptions of one operation, as the SDK generates its documentation from the model. */
async function modelled(operation: string): Promise<string[]> {
  const text = await readFile(path.join(sdk, `dist-types/commands/${operation}Command.d.ts`), 'utf8');
  const names = [...text.matchAll(/@throws \{@link (\w+)\}/g)].map(([, name]) => name!);
  return names.filter((name) => name !== 'KMSServiceException');
}

test.each(['Encrypt', 'Decrypt', 'DescribeKey'])(
  'every exception of the model for %s has a code',
  async (operation) => {
    const names = await modelled(operation);
    expect(names).toContain('NotFoundException');
    expect(names.filter((name) => !Object.hasOwn(MEANINGS, name))).toEqual([]);
  },
);

test.each(Object.entries(MEANINGS))(
  'shape only: %s is told by its name, whatever the status',
  async (name, { code }) => {
    const double = await KmsDouble.start();
    const { aws } = await openAws(double.url);
    for (const status of [400, 403, 500]) {
      double.answerWith(() => ({ exception: name, status, message: 'a message of AWS' }));
      const error = await failureOf(aws.unwrap(record, signal));
      expect({ status, code: error.code }).toEqual({ status, code });
      expect(error.message).toMatch(/^aws: unwrap with arn:aws:kms:\S+: .+/);
      expect(error.message).not.toContain('a message of AWS');
      expect(error.cause).toMatchObject({ name });
      expect(double.asked, 'one request').toHaveLength(1);
    }
  },
);

test.each([
  [`${KEY_ARN} is pending deletion.`, 'key-disabled'],
  [`${KEY_ARN} is pending replica deletion.`, 'key-disabled'],
  [`${KEY_ARN} is pending import.`, 'key-disabled'],
  // A key store that is disconnected: nobody switched the key off.
  [`${KEY_ARN} is unavailable.`, 'unavailable'],
  ['The external key store proxy did not respond in time.', 'unavailable'],
])('shape only: KMSInvalidStateException "%s" is %s', async (message, code) => {
  const double = await KmsDouble.start(() => ({ exception: 'KMSInvalidStateException', message }));
  const { aws } = await openAws(double.url);
  expect((await failureOf(aws.unwrap(record, signal))).code).toBe(code);
});

test.each([
  ['Disabled', 'key-disabled'],
  ['PendingDeletion', 'key-disabled'],
  ['PendingReplicaDeletion', 'key-disabled'],
  ['PendingImport', 'key-disabled'],
  ['Unavailable', 'unavailable'],
  ['Creating', 'unavailable'],
])('shape only: key state %s is %s', async (KeyState, code) => {
  const double = await KmsDouble.start(() => ({ json: { KeyMetadata: metadata({ KeyState }) } }));
  const { aws } = await openAws(double.url);
  expect((await failureOf(aws.currentKekId(signal))).code).toBe(code);
  expect((await failureOf(aws.wrap(LOCAL_KEY, signal))).code).toBe(code);
});

test('an exception that nobody knows is no refusal and no loss', async () => {
  for (const [status, code] of [
    [400, 'internal'],
    [403, 'internal'],
    [429, 'throttled'],
    [500, 'unavailable'],
    [503, 'unavailable'],
  ] as const) {
    const double = await KmsDouble.start(() => ({ exception: 'SomethingNewException', status }));
    const { aws } = await openAws(double.url);
    expect((await failureOf(aws.unwrap(record, signal))).code).toBe(code);
  }
});

test.each([
  [403, 'internal'],
  [407, 'internal'],
  [502, 'unavailable'],
])('the page of a proxy with status %i is no answer of KMS: %s', async (status, code) => {
  const double = await KmsDouble.start(() => ({ status, text: '<html>no</html>' }));
  const { aws } = await openAws(double.url);
  expect((await failureOf(aws.unwrap(record, signal))).code).toBe(code);
});

test('how long to wait is taken from Retry-After', async () => {
  const double = await KmsDouble.start(() => ({ exception: 'ThrottlingException', headers: { 'retry-after': '7' } }));
  const { aws } = await openAws(double.url);
  expect((await failureOf(aws.unwrap(record, signal))).retryAfterMs).toBe(7_000);
});

test('the page for operators names the same codes', async () => {
  const page = await readFile(path.resolve(import.meta.dirname, '../../../docs/backends/aws.md'), 'utf8');
  const [, section = ''] = page.split('\n## Errors\n');
  const rows = [...section.matchAll(/^\| (.+?) \| `([a-z-]+)` \| .+ \|$/gm)];
  const named = rows.flatMap(([, says = '', code = '']) =>
    [...says.matchAll(/`(\w+)`/g)].map(([, name = '']) => ({ name, code })).filter(({ name }) => name in MEANINGS),
  );
  expect(named.length).toBeGreaterThan(15);
  for (const { name, code } of named) {
    // The page has two rows for it, by its message.
    if (name !== 'KMSInvalidStateException') expect({ name, code }).toEqual({ name, code: MEANINGS[name]?.code });
  }
});
