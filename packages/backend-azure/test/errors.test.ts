import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Backend } from '@sealwax/core';
import { failureOf, openBackend } from '@sealwax/core/conformance';
import { expect, onTestFinished, test } from 'vitest';
import { backend } from '../src/index.js';
import { AzureDouble, good, KEY_ID, TENANT, type Answer } from './azure-double.js';
import { CERTIFICATE } from './certificate.js';

const { signal } = new AbortController();
const LOCAL_KEY = new Uint8Array(32).fill(7);
const record = { kekId: KEY_ID, ciphertext: LOCAL_KEY };
const PAGE = '<html><body>blocked</body></html>';
/** Of gateways whose answers are JSON, two with an error under the name that Key Vault uses. */
const FOREIGN_JSON = [{ message: 'Forbidden' }, { error: null }, { error: { code: 1020 } }];

async function openAzure(double: AzureDouble): Promise<Backend> {
  const directory = await mkdtemp(path.join(tmpdir(), 'sealwax-azure-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  const caFile = path.join(directory, 'ca.pem');
  await writeFile(caFile, CERTIFICATE.cert, { mode: 0o644 });
  const clientSecretFile = path.join(directory, 'secret');
  await writeFile(clientSecretFile, 'secret', { mode: 0o600 });
  const config = {
    vault: 'https://prod-kms.vault.azure.net',
    key: 'kms',
    endpoint: `127.0.0.1:${double.port}`,
    caFile,
    authorityHost: double.authority,
    auth: { method: 'client-secret', tenantId: TENANT, clientId: TENANT, clientSecretFile },
  };
  const opened = await openBackend({ module: backend, config });
  onTestFinished(() => opened.end());
  return opened.backend;
}

/** Of each call on the key. */
async function codesOf(azure: Backend): Promise<string[]> {
  const calls = [azure.currentKekId(signal), azure.wrap(LOCAL_KEY, signal), azure.unwrap(record, signal)];
  return Promise.all(calls.map(async (call) => (await failureOf(call)).code));
}

test.each([400, 403, 404, 405, 409, 410, 413, 451])(
  'a page of a gateway with status %i is an outage, and neither a refusal nor a loss',
  async (status) => {
    const double = await AzureDouble.start();
    const azure = await openAzure(double);
    const answers: Answer[] = [{ status, page: PAGE }, ...FOREIGN_JSON.map((json) => ({ status, json }))];
    for (const answer of answers) {
      double.vault = () => answer;
      expect(await codesOf(azure)).toEqual(['unavailable', 'unavailable', 'unavailable']);
    }
    double.vault = good;
    await azure.unwrap(record, signal);
  },
);

test.each([
  [401, 'unauthenticated'],
  [429, 'throttled'],
])('a page of a gateway with status %i is %s', async (status, code) => {
  const double = await AzureDouble.start();
  const azure = await openAzure(double);
  double.vault = () => ({ status, page: PAGE });
  expect((await failureOf(azure.unwrap(record, signal))).code).toBe(code);
});

test.each([
  [403, 'Forbidden', 'permission-denied'],
  [404, 'KeyNotFound', 'key-not-found'],
  [400, 'BadParameter', 'invalid-ciphertext'],
])('status %i of the service itself, with %j, is %s', async (status, error, code) => {
  const double = await AzureDouble.start();
  const azure = await openAzure(double);
  double.vault = () => ({ status, json: { error: { code: error, message: 'x' } } });
  expect((await failureOf(azure.unwrap(record, signal))).code).toBe(code);
});

test.each([400, 403, 404])('a page of a gateway with status %i is no rejected login, but an outage', async (status) => {
  const double = await AzureDouble.start();
  double.login = () => ({ status, page: PAGE });
  expect((await failureOf(openAzure(double))).code).toBe('unavailable');
});

test('what the service itself says of a login is a rejected one', async () => {
  const double = await AzureDouble.start();
  double.login = () => ({ status: 400, json: { error: 'unauthorized_client', error_description: 'AADSTS700016: x' } });
  expect(await failureOf(openAzure(double))).toMatchObject({
    code: 'unauthenticated',
    message: 'azure: log in: rejected with unauthorized_client',
  });
});
