import { failureOf } from '@sealwax/core/conformance';
import { fromTemporaryCredentials } from '@aws-sdk/credential-providers';
import type { Backend } from '@sealwax/core';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MetadataService, type ShownSession } from '../../src/aws/metadata-service.js';
import { MiniStack } from '../../src/aws/mini-stack.js';
import { openAws, roundTrip } from '../../src/aws/open-aws.js';
import { writeAccessKey, writeSecret, type AccessKeyFiles } from '../../src/aws/secret-files.js';
import { awsShell, type AwsShell } from '../../src/aws/shell.js';
import { FaultProxy } from '../../src/fault-proxy.js';
import { testDirectory } from '../../src/test-directory.js';
import { waitFor } from '../../src/wait-for.js';

const region = 'eu-central-1';
const account = '000000000000';
const sessionSeconds = 3;
const externalId = 'prod-1';
const issuer = 'issuer.example.com';
const roleArn = (name: string) => `arn:aws:iam::${account}:role/${name}`;
const { signal } = new AbortController();

let directory: string;
let miniStack: MiniStack;
let stsProxy: FaultProxy;
let root: AwsShell;
let user: AccessKeyFiles;
let base: Readonly<Record<string, unknown>>;

const trust = (principal: object, condition: object) =>
  JSON.stringify({
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Allow',
        Principal: principal,
        Action: ['sts:AssumeRole', 'sts:AssumeRoleWithWebIdentity'],
        Condition: { StringEquals: condition },
      },
    ],
  });

/** A new user's access key: the user may assume `first` and use no key. */
async function newUser(name: string): Promise<{ readonly accessKeyId: string; readonly secretAccessKey: string }> {
  const mayAssume = JSON.stringify({
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Action: 'sts:AssumeRole', Resource: roleArn('first') }],
  });
  const printed = await root.run(`
    aws iam create-user --user-name ${name} > /dev/null
    aws iam put-user-policy --user-name ${name} --policy-name assume --policy-document '${mayAssume}'
    aws iam create-access-key --user-name ${name} --query 'AccessKey.[AccessKeyId,SecretAccessKey]' --output text`);
  const [accessKeyId = '', secretAccessKey = ''] = printed.split(/\s+/);
  return { accessKeyId, secretAccessKey };
}

beforeAll(async () => {
  directory = await testDirectory('aws-login');
  miniStack = await MiniStack.start(directory);
  stsProxy = await FaultProxy.start({ upstreamPort: miniStack.port, http: {} });
  const endpoint = miniStack.url;
  root = await awsShell({ endpoint, region, accessKeyId: 'test', secretAccessKey: 'test', directory });
  const { accessKeyId, secretAccessKey } = await newUser('node');
  user = await writeAccessKey(path.join(directory, 'user'), accessKeyId, secretAccessKey);
  const key = await root.run('aws kms create-key --query KeyMetadata.Arn --output text');
  const mayUse = JSON.stringify({
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Action: ['kms:Encrypt', 'kms:Decrypt', 'kms:DescribeKey'], Resource: key }],
  });
  const mayAssume = mayUse.replace(/"kms:Encrypt".*?\]/, '"sts:AssumeRole"]').replace(key, roleArn('second'));
  const byUser = trust({ AWS: `arn:aws:iam::${account}:user/node` }, { 'sts:ExternalId': externalId });
  const byFirst = trust({ AWS: roleArn('first') }, { 'sts:ExternalId': externalId });
  const provider = `arn:aws:iam::${account}:oidc-provider/${issuer}`;
  const byToken = trust(
    { Federated: provider },
    { [`${issuer}:sub`]: 'sealwax', [`${issuer}:aud`]: 'sts.amazonaws.com' },
  );
  await root.run(`
    role() { aws iam create-role --role-name "$1" --assume-role-policy-document "$2" > /dev/null; }
    may() { aws iam put-role-policy --role-name "$1" --policy-name may --policy-document "$2"; }
    role first '${byUser}'
    may first '${mayAssume}'
    role second '${byFirst}'
    may second '${mayUse}'
    aws iam create-open-id-connect-provider --url https://${issuer} --client-id-list sts.amazonaws.com --thumbprint-list ${'0'.repeat(40)} > /dev/null
    role token '${byToken}'
    may token '${mayUse}'`);
  base = { key, endpoint, stsEndpoint: `http://127.0.0.1:${stsProxy.port}` };
});
afterAll(async () => {
  await stsProxy.stop();
  await miniStack.stop();
});

const chainOfRoles = (changes: object = {}) => ({
  method: 'assume-role',
  source: user.auth,
  roles: [
    { roleArn: roleArn('first'), externalId, ...changes },
    { roleArn: roleArn('second'), externalId },
  ],
});

/** Until the session that is in use now has ended. */
async function untilTheSessionEnded(facts: Awaited<ReturnType<typeof openAws>>['facts']): Promise<void> {
  const last = facts.at(-1);
  if (last?.kind !== 'credential-expiry' || last.at === undefined) throw new Error('no session was reported');
  const endMs = last.at.getTime();
  await waitFor(() => Date.now() > endMs, { what: 'the end of the session', timeoutMs: 20_000 });
}

const expectFailure = async (aws: Backend, code: string) => {
  const { code: actual, message } = await failureOf(aws.currentKekId(signal));
  expect(actual).toBe(code);
  for (const secret of [user.secretAccessKey, user.accessKeyId]) expect(message).not.toContain(secret);
};

test('a deleted access key, and a wrong secret, are a rejected login', async () => {
  const unknown = await writeAccessKey(path.join(directory, 'unknown'), 'AKIAUNKNOWNUNKNOWN00');
  const wrong = await writeAccessKey(path.join(directory, 'wrong'), user.accessKeyId);
  for (const { auth } of [unknown, wrong])
    await expectFailure((await openAws({ ...base, auth })).aws, 'unauthenticated');
});

test('an access key that is replaced in its files is taken up without a restart', async () => {
  const own = await newUser('replaced');
  const files = await writeAccessKey(path.join(directory, 'replaced'), own.accessKeyId, own.secretAccessKey);
  const { aws } = await openAws({ ...base, auth: files.auth });
  // It may use no key: that it is refused shows that its login is good.
  await expectFailure(aws, 'permission-denied');
  await root.run(`aws iam delete-access-key --user-name replaced --access-key-id ${own.accessKeyId}`);
  await expectFailure(aws, 'unauthenticated');
  const printed = await root.run(
    "aws iam create-access-key --user-name replaced --query 'AccessKey.[AccessKeyId,SecretAccessKey]' --output text",
  );
  const [accessKeyId = '', secretAccessKey = ''] = printed.split(/\s+/);
  await writeAccessKey(path.join(directory, 'replaced'), accessKeyId, secretAccessKey);
  await expectFailure(aws, 'permission-denied');
});

test('roles are assumed one through another, and sessions of seconds are renewed', async () => {
  const { aws, facts } = await openAws({ ...base, auth: chainOfRoles() }, { sessionSeconds });
  await roundTrip(aws);
  for (let session = 0; session < 2; session += 1) {
    await untilTheSessionEnded(facts);
    await roundTrip(aws);
  }
  expect(facts.length).toBeGreaterThanOrEqual(3);
});

test('a wrong external id is a rejected login', async () => {
  await expectFailure((await openAws({ ...base, auth: chainOfRoles({ externalId: 'wrong' }) })).aws, 'unauthenticated');
});

test('while STS is away the session serves to its end; then it is an outage, which ends with STS back', async () => {
  const { aws, facts } = await openAws({ ...base, auth: chainOfRoles() }, { sessionSeconds });
  await roundTrip(aws);
  await stsProxy.set({ kind: 'refuse' });
  await roundTrip(aws);
  await untilTheSessionEnded(facts);
  await expectFailure(aws, 'unavailable');
  await stsProxy.set({ kind: 'pass' });
  await roundTrip(aws);
});

test('a session that KMS does not take any more is a rejected login, and the next call logs in anew', async () => {
  const { aws, facts } = await openAws({ ...base, auth: await deadSession() });
  await expectFailure(aws, 'unauthenticated');
  expect(facts).toHaveLength(1);
  await writeSession(await shownSession(60));
  await roundTrip(aws);
  expect(facts).toHaveLength(2);
});

/** Files with a session whose time is over; no file says so. */
async function deadSession() {
  const session = await shownSession(1);
  const auth = await writeSession(session);
  const endMs = Date.parse(session.Expiration) + 1_000;
  await waitFor(() => Date.now() > endMs, { what: 'the end of a session', timeoutMs: 20_000 });
  return auth;
}

async function writeSession({ AccessKeyId, SecretAccessKey, Token }: ShownSession) {
  const { auth } = await writeAccessKey(path.join(directory, 'session'), AccessKeyId, SecretAccessKey);
  const sessionTokenFile = path.join(directory, 'session', 'session-token');
  await writeSecret(sessionTokenFile, Token);
  return { ...auth, sessionTokenFile };
}

/** A session of the last role, from MiniStack's STS. */
async function shownSession(seconds = sessionSeconds): Promise<ShownSession> {
  const clientConfig = { region, endpoint: miniStack.url };
  const masterCredentials = { accessKeyId: user.accessKeyId, secretAccessKey: user.secretAccessKey };
  const params = (name: string) => ({ RoleArn: roleArn(name), ExternalId: externalId, DurationSeconds: seconds });
  const first = fromTemporaryCredentials({ masterCredentials, clientConfig, params: params('first') });
  const session = await fromTemporaryCredentials({
    masterCredentials: first,
    clientConfig,
    params: params('second'),
  })();
  return {
    AccessKeyId: session.accessKeyId,
    SecretAccessKey: session.secretAccessKey,
    Token: session.sessionToken!,
    Expiration: session.expiration!.toISOString(),
  };
}

/** A token as an issuer makes it; MiniStack looks at its claims. */
const token = (claims: object) =>
  ['{"alg":"RS256"}', JSON.stringify({ iss: `https://${issuer}`, aud: 'sts.amazonaws.com', ...claims }), 'signature']
    .map((part) => Buffer.from(part).toString('base64url'))
    .join('.');

test('a web identity token is read again at each login: a bad one is a rejected login, until the file is good again', async () => {
  const tokenFile = path.join(directory, 'token');
  await writeSecret(tokenFile, token({ sub: 'sealwax' }));
  const auth = { method: 'web-identity', roleArn: roleArn('token'), tokenFile };
  const { aws, facts } = await openAws({ ...base, auth }, { sessionSeconds });
  await roundTrip(aws);
  await writeSecret(tokenFile, token({ sub: 'somebody else' }));
  await untilTheSessionEnded(facts);
  await expectFailure(aws, 'unauthenticated');
  await writeSecret(tokenFile, token({ sub: 'sealwax' }));
  await roundTrip(aws);
});

test('a profile: static keys, a role on top of them, and the output of a credential_process', async () => {
  const shared = path.join(directory, 'shared');
  await mkdir(shared, { mode: 0o700 });
  const credentialsFile = path.join(shared, 'credentials');
  const configFile = path.join(shared, 'config');
  const session = path.join(shared, 'session.json');
  const { accessKeyId, secretAccessKey } = user;
  const renewed = async () => {
    const { AccessKeyId, SecretAccessKey, Token: SessionToken, Expiration } = await shownSession();
    await writeSecret(session, JSON.stringify({ Version: 1, AccessKeyId, SecretAccessKey, SessionToken, Expiration }));
  };
  await writeSecret(
    credentialsFile,
    `[default]\naws_access_key_id = ${accessKeyId}\naws_secret_access_key = ${secretAccessKey}`,
  );
  const role = `role_arn = ${roleArn('first')}\nsource_profile = default\nexternal_id = ${externalId}`;
  await writeSecret(configFile, `[profile role]\n${role}\n[profile process]\ncredential_process = cat ${session}`);
  const profile = (name: string) => ({
    ...base,
    auth: { method: 'profile', profile: name, credentialsFile, configFile },
  });
  await expectFailure((await openAws(profile('default'))).aws, 'permission-denied');
  await expectFailure((await openAws(profile('role'))).aws, 'permission-denied');
  await expectFailure((await openAws(profile('missing'))).aws, 'unauthenticated');
  await renewed();
  const { aws, facts } = await openAws(profile('process'));
  await roundTrip(aws);
  await untilTheSessionEnded(facts);
  await expectFailure(aws, 'unauthenticated');
  await renewed();
  await roundTrip(aws);
});

test('the role of an instance comes through IMDSv2, and that of a container with its token; both are renewed', async () => {
  const metadata = await MetadataService.start(() => shownSession());
  process.env['AWS_EC2_METADATA_SERVICE_ENDPOINT'] = metadata.url;
  try {
    const tokenFile = path.join(directory, 'container-token');
    await writeFile(tokenFile, metadata.authorization, { mode: 0o600 });
    for (const auth of [{ method: 'instance' }, { method: 'container', uri: `${metadata.url}/container`, tokenFile }]) {
      const { aws, facts } = await openAws({ ...base, auth });
      await roundTrip(aws);
      await untilTheSessionEnded(facts);
      await roundTrip(aws);
    }
    metadata.authorization = 'another';
    const auth = { method: 'container', uri: `${metadata.url}/container`, tokenFile };
    await expectFailure((await openAws({ ...base, auth })).aws, 'unauthenticated');
  } finally {
    delete process.env['AWS_EC2_METADATA_SERVICE_ENDPOINT'];
    await metadata.stop();
  }
});
