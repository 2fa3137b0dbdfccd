import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { backend } from '@sealwax/backend-vault';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { openBackend } from '@sealwax/core/conformance';
import { codeBlocks } from '../../src/code-blocks.js';
import { baoShell, type BaoShell } from '../../src/openbao/bao-shell.js';
import { JwtIssuer } from '../../src/openbao/jwt-issuer.js';
import { OpenBao } from '../../src/openbao/open-bao.js';
import { WorkloadApi } from '../../src/openbao/workload-api.js';
import { failureOf, never } from '../../src/openbao/vault-bench.js';
import { TestAuthority } from '../../src/test-certificates.js';
import { testDirectory } from '../../src/test-directory.js';

const page = 'backends/vault.md';
const NAME = 'sealwax-prod-1';
const localKey = new Uint8Array(randomBytes(32));

const clients = new TestAuthority('clients of the docs');
let directory: string;
let secrets: string;
let bao: OpenBao;
let shell: BaoShell;
let setUp: readonly string[];
let roleId: string;
beforeAll(async () => {
  directory = await testDirectory('vault-docs');
  secrets = path.join(directory, 'secrets');
  bao = await OpenBao.start(path.join(directory, 'openbao'), { clientAuthority: clients });
  shell = await baoShell(bao, directory);
  setUp = await codeBlocks(page, 'sh test');
  // Whoever reads the page may stop before the policy for the longer form of the KEK id.
  const printed = await shell.run(setUp.slice(0, -1).join('\n'), { SECRETS: secrets });
  roleId = printed.split('\n').at(-1)!;
});
afterAll(() => bao.stop());

type Section = Readonly<Record<string, unknown>>;

/** A config section of the page, made to lead here and to the files of this test. */
function here(section: Section): Section {
  const moved = JSON.stringify(section).replaceAll(/\/etc\/sealwax|\/run\/spiffe|\/run\/spire\/sockets/g, secrets);
  return { ...(JSON.parse(moved) as Section), address: bao.url, caFile: bao.caFile };
}

async function open(section: Section) {
  const opened = await openBackend({ module: backend, config: section });
  onTestFinished(() => opened.end());
  return opened.backend;
}

async function roundTrip(section: Section): Promise<string> {
  const opened = await open(section);
  const wrapped = await opened.wrap(localKey, never);
  expect(await opened.unwrap(wrapped, never)).toEqual(localKey);
  expect(await opened.currentKekId(never)).toBe(wrapped.kekId);
  return wrapped.kekId;
}

const configFile = z.object({
  keys: z.tuple([z.object({ backend: z.literal('vault'), config: z.record(z.string(), z.unknown()) })]),
});

async function configOfPage(): Promise<Section> {
  const [text, ...more] = await codeBlocks(page, 'yaml test');
  expect(more).toHaveLength(0);
  const { config } = configFile.parse(parse(text!)).keys[0];
  expect((await backend.config['~standard'].validate(config)).issues).toBeUndefined();
  return here({ ...config, auth: { ...(config['auth'] as Section), roleId } });
}

/** Runs the commands of one auth method, and logs in with the config that follows them. */
async function methodWorks(method: string, change: Section = {}): Promise<void> {
  for (const block of await codeBlocks(page, `sh test ${method}`)) await shell.run(block, { NAME, SECRETS: secrets });
  const auths = (await codeBlocks(page, 'yaml test auth')).map((block) => parse(block) as Section);
  const auth = auths.find((one) => one['method'] === method);
  expect(auth, `the page shows auth of method ${method}`).toBeDefined();
  await roundTrip({ ...here({ key: NAME, auth }), ...change });
}

test('the commands of the page make a key, a policy and a login that the config of the page works with', async () => {
  expect(await roundTrip(await configOfPage())).toBe(`vault/transit/${NAME}/1`);
});

test('the policy of the page allows this key only, and nothing but to encrypt and decrypt', async () => {
  const config = await configOfPage();
  await bao.root.post('transit/keys/other');
  const other = await open({ ...config, key: 'other' });
  expect(await failureOf(other.wrap(localKey, never))).toMatchObject({ code: 'permission-denied' });
  const withTime = { ...config, kekId: 'version-and-creation-time' };
  const unread = await open(withTime);
  expect(await failureOf(unread.currentKekId(never))).toMatchObject({ code: 'permission-denied' });
  await shell.run(setUp.at(-1)!, { NAME });
  expect(await roundTrip(withTime)).toMatch(/^vault\/transit\/sealwax-prod-1\/1\/\d{10}$/);
});

test('the commands of the page rotate, and old versions open', async () => {
  const config = await configOfPage();
  const backend = await open(config);
  const older = await backend.wrap(localKey, never);
  await shell.run(`bao write -f transit/keys/${NAME}/rotate`);
  expect(await backend.currentKekId(never)).not.toBe(older.kekId);
  expect(await backend.unwrap(older, never)).toEqual(localKey);
});

test('method token', async () => {
  await methodWorks('token');
});

test('method cert', async () => {
  await writeFile(path.join(directory, 'client-ca.pem'), clients.cert);
  const { cert, key } = clients.issue(['node-1']);
  const [certFile, keyFile] = [path.join(directory, 'node.pem'), path.join(directory, 'node.key')];
  await writeFile(certFile, cert);
  await writeFile(keyFile, key, { mode: 0o600 });
  await methodWorks('cert', { certFile, keyFile });
});

test('method jwt, from a file and from the Workload API', async () => {
  const issuer = new JwtIssuer();
  await writeFile(path.join(directory, 'issuer.pem'), issuer.publicKey);
  const subject = 'spiffe://example.com/sealwax';
  const jwt = issuer.issue({ sub: subject, aud: 'vault' });
  await writeFile(path.join(secrets, 'jwt'), jwt, { mode: 0o600 });
  await methodWorks('jwt');
  const agent = await WorkloadApi.start(path.join(secrets, 'agent.sock'));
  onTestFinished(() => {
    agent.stop();
  });
  agent.issue = (audience) => new Map([[subject, issuer.issue({ sub: subject, aud: audience })]]);
  const auths = (await codeBlocks(page, 'yaml test auth')).map((block) => parse(block) as Section);
  const auth = auths.find((one) => 'spiffe' in one);
  expect(auth, 'the page shows auth by the Workload API').toBeDefined();
  await roundTrip(here({ key: NAME, auth }));
  expect(agent.fetched).toBe(1);
});

test('method userpass', async () => {
  await mkdir(secrets, { recursive: true });
  await writeFile(path.join(secrets, 'vault-password'), randomBytes(16).toString('hex'), { mode: 0o600 });
  await methodWorks('userpass');
});

test('each auth section of the page is one that the backend takes', async () => {
  const blocks = await codeBlocks(page, 'yaml test auth');
  expect(blocks).toHaveLength(6);
  for (const block of blocks) {
    const auth = parse(block) as Section;
    const certificate =
      auth['method'] === 'cert' ? { certFile: '/etc/sealwax/node.pem', keyFile: '/etc/sealwax/node.key' } : {};
    const section = { address: 'https://vault.example.com:8200', key: NAME, ...certificate, auth };
    expect((await backend.config['~standard'].validate(section)).issues).toBeUndefined();
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
