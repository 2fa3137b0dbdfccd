import { failureOf, lendHost } from '@sealwax/core/conformance';
import { execFile } from 'node:child_process';
import { open, rm, writeFile } from 'node:fs/promises';
import { Agent as HttpsAgent } from 'node:https';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterEach, expect, test, vi } from 'vitest';
import { awsConfig } from '../src/config.js';
import { backend } from '../src/index.js';
import { KEY_ARN, KmsDouble, MATERIAL } from './kms-double.js';
import { accessKeyFiles, LOCAL_KEY, openAws, signal } from './open-aws.js';
import { temporaryDirectory } from './temporary-directory.js';

const record = { kekId: `${KEY_ARN}#${MATERIAL}`, ciphertext: LOCAL_KEY };
const before = { ...process.env };
afterEach(() => {
  for (const name of Object.keys(process.env)) if (!(name in before)) Reflect.deleteProperty(process.env, name);
  Object.assign(process.env, before);
  vi.restoreAllMocks();
});

const signedBy = ({ headers }: { readonly headers: NodeJS.Dict<string | string[]> }) =>
  /Credential=([^/]+)\//.exec(String(headers['authorization']))?.[1];

test('nothing of the environment is used that the config does not ask for', async () => {
  Object.assign(process.env, {
    AWS_ACCESS_KEY_ID: 'AKIAENVIRONMENT',
    AWS_SECRET_ACCESS_KEY: 'environment',
    AWS_REGION: 'us-east-1',
    AWS_ENDPOINT_URL: 'http://127.0.0.1:1',
    AWS_ENDPOINT_URL_KMS: 'http://127.0.0.1:1',
    AWS_USE_FIPS_ENDPOINT: 'true',
    AWS_MAX_ATTEMPTS: '9',
    AWS_PROFILE: 'missing',
  });
  const double = await KmsDouble.start();
  const { aws } = await openAws(double.url);
  await aws.unwrap(record, signal);
  expect(double.asked.map(signedBy)).toEqual(['AKIAEXAMPLE']);
  expect(double.asked[0]?.headers.authorization).toContain('/eu-central-1/kms/');
});

test('the chain takes the environment, because the config asks', async () => {
  Object.assign(process.env, { AWS_ACCESS_KEY_ID: 'AKIAENVIRONMENT', AWS_SECRET_ACCESS_KEY: 'environment' });
  const double = await KmsDouble.start();
  const { aws } = await openAws(double.url, { auth: { method: 'chain' } });
  await aws.unwrap(record, signal);
  expect(double.asked.map(signedBy)).toEqual(['AKIAENVIRONMENT']);
});

test('shape only: assume-role sends in whose name, under the signature', async () => {
  const double = await KmsDouble.start();
  const sts = await KmsDouble.start(() => ({
    status: 400,
    text: '<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>',
  }));
  const sourceArn = 'arn:aws:eks:eu-central-1:111122223333:cluster/prod-1';
  const roleArn = 'arn:aws:iam::111122223333:role/sealwax';
  const roles = [{ roleArn, externalId: 'prod-1', sourceArn, sourceAccount: '111122223333' }];
  const auth = { method: 'assume-role', source: await accessKeyFiles(), roles };
  const { aws } = await openAws(double.url, { stsEndpoint: sts.url, auth });
  const error = await failureOf(aws.unwrap(record, signal));
  expect(error.code).toBe('unauthenticated');
  expect(error.message).toMatch(/^aws: log in with assume-role: /);
  const [asked] = sts.asked;
  expect(asked?.headers).toMatchObject({ 'x-amz-source-arn': sourceArn, 'x-amz-source-account': '111122223333' });
  expect(asked?.headers.authorization).toMatch(/SignedHeaders=\S*x-amz-source-account;x-amz-source-arn/);
  const form = Object.fromEntries(new URLSearchParams(asked?.body));
  expect(form).toMatchObject({
    Action: 'AssumeRole',
    RoleArn: roleArn,
    ExternalId: 'prod-1',
    RoleSessionName: 'sealwax',
  });
  expect(double.asked).toEqual([]);
});

test('a file that others can read is no credential', async () => {
  const directory = await temporaryDirectory();
  const credentialsFile = path.join(directory, 'credentials');
  const content = '[default]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = profile\n';
  await writeFile(credentialsFile, content, { mode: 0o644 });
  const double = await KmsDouble.start();
  const { aws } = await openAws(double.url, { auth: { method: 'profile', credentialsFile } });
  const error = await failureOf(aws.unwrap(record, signal));
  expect(error.code).toBe('unauthenticated');
  expect(error.message).toContain('chmod');
});

/** A source that does not answer until it is mended. */
interface HangingSource {
  readonly auth: Readonly<Record<string, unknown>>;
  /** Resolves when it has been asked. */
  readonly asked: () => Promise<void>;
  readonly mend: () => Promise<void>;
  /** Ends the question that got no answer. */
  readonly end: () => Promise<void>;
}

const session = { SecretAccessKey: 'secret', Expiration: new Date(Date.now() + 3_600_000).toISOString() };

/** A helper that waits on a pipe for as long as there is one, and fails when that has ended. */
async function hangingProcess(): Promise<HangingSource> {
  const directory = await temporaryDirectory();
  const helper = path.join(directory, 'helper');
  const pipe = path.join(directory, 'pipe');
  const configFile = path.join(directory, 'config');
  await promisify(execFile)('mkfifo', [pipe]);
  const output = JSON.stringify({ Version: 1, AccessKeyId: 'AKIAPROCESS', SessionToken: 'token', ...session });
  const script = `#!/bin/sh\nif [ -e ${pipe} ]; then read -r line < ${pipe} || exit 1; fi\necho '${output}'\n`;
  await writeFile(helper, script, { mode: 0o700 });
  await writeFile(configFile, `[default]\ncredential_process = ${helper}\n`, { mode: 0o600 });
  let writing: Awaited<ReturnType<typeof open>> | undefined;
  return {
    auth: { method: 'profile', configFile },
    asked: async () => {
      // Opens as soon as the helper reads.
      writing = await open(pipe, 'w');
    },
    mend: () => rm(pipe),
    end: async () => writing?.close(),
  };
}

async function hangingEndpoint(): Promise<HangingSource> {
  const double = await KmsDouble.start(() => 'nothing');
  return {
    auth: { method: 'container', uri: `${double.url}/credentials` },
    asked: () => expect.poll(() => double.asked.length).toBe(1),
    mend: () => {
      double.answerWith(() => ({ json: { AccessKeyId: 'AKIACONTAINER', Token: 'token', ...session } }));
      return Promise.resolve();
    },
    end: () => Promise.resolve(),
  };
}

test.each([
  ['a credential_process', hangingProcess, 'AKIAPROCESS'],
  ['the endpoint of a container', hangingEndpoint, 'AKIACONTAINER'],
])('%s that hangs is unavailable after 10 s, and asked anew by the next call', async (_, start, accessKeyId) => {
  const limit = new AbortController();
  const limits = vi.spyOn(AbortSignal, 'timeout').mockReturnValueOnce(limit.signal);
  const source = await start();
  const double = await KmsDouble.start();
  const { aws } = await openAws(double.url, { auth: source.auth });
  const call = failureOf(aws.unwrap(record, signal));
  await source.asked();
  limit.abort();
  const { code, message } = await call;
  expect(code).toBe('unavailable');
  expect(message).toMatch(/^aws: log in with (profile|container): no answer within 10000 ms$/);
  expect(limits).toHaveBeenCalledWith(10_000);
  await source.mend();
  await aws.unwrap(record, signal);
  await source.end();
  expect(double.asked.map(signedBy)).toEqual([accessKeyId]);
});

/** Where a client would connect to. */
class NamesHost extends HttpsAgent {
  readonly hosts: string[] = [];
  override createConnection(options: { readonly host?: string }): never {
    this.hosts.push(options.host ?? '');
    throw Object.assign(new Error('not from here'), { code: 'ECONNREFUSED', syscall: 'connect' });
  }
}

test.each([
  [{}, 'kms.eu-central-1.amazonaws.com'],
  [{ fips: true }, 'kms-fips.eu-central-1.amazonaws.com'],
  [{ dualStack: true }, 'kms.eu-central-1.api.aws'],
  [{ fips: true, dualStack: true }, 'kms-fips.eu-central-1.api.aws'],
  [{ endpoint: 'https://vpce-1.kms.eu-central-1.vpce.amazonaws.com' }, 'vpce-1.kms.eu-central-1.vpce.amazonaws.com'],
  [{ key: KEY_ARN.replace('aws', 'aws-cn').replace('eu-central-1', 'cn-north-1') }, 'kms.cn-north-1.amazonaws.com.cn'],
])('%j leads to %s, through the agent that the host lends', async (changes, expected) => {
  const agent = new NamesHost();
  const life = new AbortController();
  const asked: unknown[] = [];
  const host = {
    ...lendHost('aws', () => undefined, life.signal),
    httpsAgent: (files: unknown) => {
      asked.push(files);
      return Promise.resolve(agent);
    },
  };
  const config = awsConfig.parse({ key: KEY_ARN, auth: await accessKeyFiles(), caFile: '/etc/ca.pem', ...changes });
  const aws = await backend.open(config, host);
  expect((await failureOf(aws.currentKekId(signal))).code).toBe('unavailable');
  expect(agent.hosts).toEqual([expected]);
  expect(asked).toEqual([{ caFile: '/etc/ca.pem' }]);
  await aws.close();
});
