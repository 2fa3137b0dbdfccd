import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Backend } from '@sealwax/core';
import { failureOf, openBackend } from '@sealwax/core/conformance';
import { afterEach, expect, onTestFinished, test, vi } from 'vitest';
import { backend } from '../src/index.js';
import { DENIED, good, MISSING, VaultDouble, type Answer } from './vault-double.js';

const { signal } = new AbortController();
const LOCAL_KEY = new Uint8Array(32).fill(7);
const record = { kekId: 'vault/transit/kms/1', ciphertext: LOCAL_KEY };
const PAGE = '<html><body>blocked</body></html>';
/** Of gateways whose answers are JSON, one with a list under the name that Vault uses. */
const FOREIGN_JSON = [{ message: 'Forbidden' }, { errors: [{ code: 1020 }] }];

afterEach(() => {
  vi.useRealTimers();
});

async function openVault(addresses: readonly string[]): Promise<Backend> {
  const directory = await mkdtemp(path.join(tmpdir(), 'sealwax-vault-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  const secretIdFile = path.join(directory, 'secret-id');
  await writeFile(secretIdFile, 'secret', { mode: 0o600 });
  const [address, ...otherAddresses] = addresses;
  const auth = { method: 'approle', roleId: 'r', secretIdFile };
  const opened = await openBackend({ module: backend, config: { address, otherAddresses, key: 'kms', auth } });
  onTestFinished(() => opened.end());
  return opened.backend;
}

/** Of each call on the key. */
async function codesOf(vault: Backend): Promise<string[]> {
  const calls = [vault.currentKekId(signal), vault.wrap(LOCAL_KEY, signal), vault.unwrap(record, signal)];
  return Promise.all(calls.map(async (call) => (await failureOf(call)).code));
}

test.each([400, 401, 403, 404, 405, 410, 413, 451])(
  'a page of a gateway with status %i is an outage, and neither a refusal nor a loss',
  async (status) => {
    const double = await VaultDouble.start();
    const vault = await openVault([double.url]);
    await vault.unwrap(record, signal);
    const answers: Answer[] = [{ status, page: PAGE }, ...FOREIGN_JSON.map((json) => ({ status, json }))];
    for (const answer of answers) {
      double.answerWith(() => answer);
      expect(await codesOf(vault)).toEqual(['unavailable', 'unavailable', 'unavailable']);
    }
    double.answerWith(good);
    await vault.unwrap(record, signal);
  },
);

test('a page of a gateway with status 429 is throttled', async () => {
  const double = await VaultDouble.start();
  const vault = await openVault([double.url]);
  double.answerWith(() => ({ status: 429, page: PAGE }));
  expect((await failureOf(vault.unwrap(record, signal))).code).toBe('throttled');
});

test.each([
  [403, DENIED, 'permission-denied'],
  [404, MISSING, 'key-not-found'],
  [400, ['cipher: message authentication failed'], 'invalid-ciphertext'],
])('status %i of the service itself, with %j, is %s', async (status, errors, code) => {
  const double = await VaultDouble.start();
  const vault = await openVault([double.url]);
  await vault.unwrap(record, signal);
  double.answerWith(() => ({ status, json: { errors } }));
  expect((await failureOf(vault.unwrap(record, signal))).code).toBe(code);
});

test.each([400, 403, 404])('a page of a gateway with status %i is no rejected login, but an outage', async (status) => {
  const double = await VaultDouble.start();
  const vault = await openVault([double.url]);
  double.answerWith(() => ({ status, page: PAGE }));
  expect((await failureOf(vault.unwrap(record, signal))).code).toBe('unavailable');
  // Nor is the secret id held back, as one that Vault refused would be.
  double.answerWith(good);
  await vault.unwrap(record, signal);
});

test('what the service itself says of a login is a rejected one', async () => {
  const double = await VaultDouble.start();
  const vault = await openVault([double.url]);
  double.answerWith(() => ({ status: 400, json: { errors: ['invalid role or secret ID'] } }));
  expect(await failureOf(vault.unwrap(record, signal))).toMatchObject({
    code: 'unauthenticated',
    message: 'vault: log in at auth/approle: 400 invalid role or secret ID',
  });
});

test('a refusal that a new login has to confirm does not count while a page of a gateway answers that login', async () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  const double = await VaultDouble.start();
  const vault = await openVault([double.url]);
  await vault.unwrap(record, signal);
  // A younger token has whatever rights there are, and no new one is asked for.
  vi.advanceTimersByTime(11_000);
  double.answerWith((asked) =>
    asked.endsWith('/login') ? { status: 403, page: PAGE } : { status: 403, json: { errors: DENIED } },
  );
  expect((await failureOf(vault.unwrap(record, signal))).code).toBe('unavailable');
  expect(double.asked).toEqual(['/v1/transit/decrypt/kms', '/v1/auth/approle/login']);
});

test('a node behind a gateway that answers in its place is passed over', async () => {
  const blocked = await VaultDouble.start();
  const other = await VaultDouble.start();
  blocked.answerWith(() => ({ status: 403, page: PAGE }));
  const vault = await openVault([blocked.url, other.url]);
  expect(await vault.unwrap(record, signal)).toEqual(LOCAL_KEY);
});
