import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { OpenBao } from '../../src/openbao/open-bao.js';
import {
  everything,
  failureOf,
  failuresOf,
  never,
  VaultBench,
  type VaultSection,
} from '../../src/openbao/vault-bench.js';
import { waitFor } from '../../src/wait-for.js';

let bench: VaultBench;
beforeAll(async () => {
  bench = await VaultBench.start('vault-errors');
});
afterAll(() => bench.stop());

const localKey = new Uint8Array(randomBytes(32));
const both = ['version', 'version-and-creation-time'] as const;

async function wrapped(config: VaultSection) {
  const { backend } = await bench.open(config);
  return { backend, wrappedKey: await backend.wrap(localKey, never) };
}

describe('a key that is missing', () => {
  test('is not made by a wrap whose token may create keys', async () => {
    const name = bench.name('never');
    const { backend } = await bench.open(await bench.config(name));
    expect(await failureOf(backend.wrap(localKey, never))).toMatchObject({
      code: 'key-not-found',
      message: `vault: wrap with transit/${name}: there is no such key`,
    });
    expect(await failureOf(backend.currentKekId(never))).toMatchObject({ code: 'key-not-found' });
    expect(await bench.root.status(`transit/keys/${name}`)).toBe(404);
  });

  test('is told apart from a missing right, also for a token that may only use keys', async () => {
    const name = bench.name('never');
    const policy = ['encrypt', 'decrypt'].map((verb) => `path "transit/${verb}/*" { capabilities = ["update"] }`);
    const { backend } = await bench.open(await bench.config(name, { policy: policy.join('\n') }));
    expect(await failureOf(backend.wrap(localKey, never))).toMatchObject({ code: 'key-not-found' });
    expect(await failureOf(backend.currentKekId(never))).toMatchObject({ code: 'key-not-found' });
  });

  test.each(both)('or deleted: every call says so, kekId %s', async (kekId) => {
    const { name, key } = await bench.key();
    const { backend, wrappedKey } = await wrapped(await bench.config(name, { kekId }));
    await key.delete();
    for (const failure of await failuresOf([
      backend.currentKekId(never),
      backend.wrap(localKey, never),
      backend.unwrap(wrappedKey, never),
    ]))
      expect(failure).toMatchObject({ code: 'key-not-found' });
    expect(await key.exists()).toBe(false);
  });

  test('has no mount or no namespace', async () => {
    const { name } = await bench.key();
    const root = { method: 'token', namespace: 'root', tokenFile: await bench.secretFile(bench.bao.rootToken) };
    const noMount = await bench.open({ ...(await bench.config(name)), mount: 'elsewhere', auth: root });
    expect(await failureOf(noMount.backend.wrap(localKey, never))).toMatchObject({
      code: 'key-not-found',
      message: expect.stringContaining('no secrets engine at this mount'),
    });
    const noNamespace = await bench.open({ ...(await bench.config(name)), namespace: 'nowhere', auth: root });
    expect(await failureOf(noNamespace.backend.wrap(localKey, never))).toMatchObject({
      code: 'key-not-found',
      message: expect.stringContaining('no such namespace'),
    });
  });
});

test.each(both)(
  'a soft-deleted key is disabled for every call, and works again when it is restored, kekId %s',
  async (kekId) => {
    const { name, key } = await bench.key();
    const { backend, wrappedKey } = await wrapped(await bench.config(name, { kekId }));
    await key.softDelete();
    for (const failure of await failuresOf([
      backend.currentKekId(never),
      backend.wrap(localKey, never),
      backend.unwrap(wrappedKey, never),
    ]))
      expect(failure).toMatchObject({ code: 'key-disabled' });
    await key.mend();
    expect(await backend.unwrap(wrappedKey, never)).toEqual(localKey);
  },
);

describe('versions', () => {
  test('one that is newer than the key is not found', async () => {
    const { name } = await bench.key();
    const { backend, wrappedKey } = await wrapped(await bench.config(name));
    const kekId = `vault/transit/${name}/99`;
    expect(await failureOf(backend.unwrap({ ...wrappedKey, kekId }, never))).toMatchObject({
      code: 'key-not-found',
      message: `vault: unwrap with transit/${name}: the key has no such version`,
    });
  });

  test('one below min_decryption_version is not found, and is back when that is lowered', async () => {
    const { name, key } = await bench.key();
    const { backend, wrappedKey } = await wrapped(await bench.config(name));
    await key.rotate();
    await key.configure({ min_decryption_version: 2 });
    expect(await failureOf(backend.unwrap(wrappedKey, never))).toMatchObject({ code: 'key-not-found' });
    await key.configure({ min_decryption_version: 1 });
    expect(await backend.unwrap(wrappedKey, never)).toEqual(localKey);
  });

  test('one that was trimmed is not found', async () => {
    const { name, key } = await bench.key();
    const { backend, wrappedKey } = await wrapped(await bench.config(name));
    await key.rotate();
    await key.trim();
    expect(await failureOf(backend.unwrap(wrappedKey, never))).toMatchObject({ code: 'key-not-found' });
  });

  test('with its creation time, a key that was deleted and made again is told apart', async () => {
    const { name, key } = await bench.key();
    const { backend, wrappedKey } = await wrapped(await bench.config(name, { kekId: 'version-and-creation-time' }));
    // Creation times are whole seconds.
    const later = new Date(Math.ceil(Date.now() / 1_000 + 1) * 1_000);
    await expect.poll(() => Date.now() > later.getTime(), { timeout: 5_000 }).toBe(true);
    await key.replace();
    expect(await backend.currentKekId(never)).not.toBe(wrappedKey.kekId);
    expect(await failureOf(backend.unwrap(wrappedKey, never))).toMatchObject({
      code: 'key-not-found',
      message: expect.stringContaining('another key stands beneath this name'),
    });
  });

  test('both forms of the KEK id unwrap, whatever the config says now', async () => {
    const { name } = await bench.key();
    for (const [before, after] of [both, [...both].reverse()] as const) {
      const { wrappedKey } = await wrapped(await bench.config(name, { kekId: before }));
      const { backend } = await bench.open(await bench.config(name, { kekId: after }));
      expect(await backend.unwrap(wrappedKey, never)).toEqual(localKey);
    }
  });
});

describe('bytes that are no ciphertext of the key', () => {
  test.each([
    ['too short', () => Uint8Array.of(1)],
    ['empty', () => new Uint8Array()],
    ['tampered with', (ciphertext: Uint8Array) => ciphertext.map((byte, index) => (index === 20 ? byte ^ 1 : byte))],
  ])('%s: invalid', async (_what, spoil) => {
    const { name } = await bench.key();
    const { backend, wrappedKey } = await wrapped(await bench.config(name));
    const ciphertext = spoil(wrappedKey.ciphertext);
    expect(await failureOf(backend.unwrap({ ...wrappedKey, ciphertext }, never))).toMatchObject({
      code: 'invalid-ciphertext',
    });
  });

  test('RSA: opens what it wrapped; what was tampered with is invalid, though Vault answers 500', async () => {
    const { name } = await bench.key({ type: 'rsa-2048' });
    const { backend, wrappedKey } = await wrapped(await bench.config(name, { kekId: 'version-and-creation-time' }));
    expect(await backend.unwrap(wrappedKey, never)).toEqual(localKey);
    const ciphertext = wrappedKey.ciphertext.map((byte, index) => (index === 20 ? byte ^ 1 : byte));
    expect(await failureOf(backend.unwrap({ ...wrappedKey, ciphertext }, never))).toMatchObject({
      code: 'invalid-ciphertext',
    });
  });
});

describe('keys that cannot be used', () => {
  test.each(both)('a derived one is refused with what to do, kekId %s', async (kekId) => {
    const { name } = await bench.key({ derived: true });
    const { backend } = await bench.open(await bench.config(name, { kekId }));
    for (const failure of await failuresOf([backend.currentKekId(never), backend.wrap(localKey, never)]))
      expect(failure).toMatchObject({
        code: 'internal',
        message: expect.stringContaining('the key is derived, which Sealwax cannot use'),
      });
  });

  test.each(both)('one that only signs is refused with what to do, kekId %s', async (kekId) => {
    const { name } = await bench.key({ type: 'ed25519' });
    const { backend } = await bench.open(await bench.config(name, { kekId }));
    for (const failure of await failuresOf([backend.currentKekId(never), backend.wrap(localKey, never)]))
      expect(failure).toMatchObject({
        code: 'internal',
        message: expect.stringContaining('cannot encrypt'),
      });
  });
});

describe('rights', () => {
  test('a token without any is denied, with the key there', async () => {
    const { name } = await bench.key();
    const { backend, wrappedKey } = await wrapped(await bench.config(name));
    const poor = await bench.open(await bench.config(name, { policy: '# nothing' }));
    expect(await failureOf(poor.backend.wrap(localKey, never))).toMatchObject({
      code: 'permission-denied',
      message: `vault: wrap with transit/${name}: permission denied`,
    });
    expect(await failureOf(poor.backend.unwrap(wrappedKey, never))).toMatchObject({ code: 'permission-denied' });
    expect(await failureOf(poor.backend.currentKekId(never))).toMatchObject({ code: 'permission-denied' });
    expect(await backend.unwrap(wrappedKey, never)).toEqual(localKey);
  });

  test('kekId version-and-creation-time without `read` is denied, never shortened', async () => {
    const { name } = await bench.key();
    const policy = ['encrypt', 'decrypt'].map((verb) => `path "transit/${verb}/*" { capabilities = ["update"] }`);
    const config = await bench.config(name, { kekId: 'version-and-creation-time', policy: policy.join('\n') });
    const { backend } = await bench.open(config);
    for (const failure of await failuresOf([backend.currentKekId(never), backend.wrap(localKey, never)]))
      expect(failure).toMatchObject({ code: 'permission-denied' });
  });

  test('a mount that is absent looks like a missing right to a token without rights there', async () => {
    const { backend } = await bench.open(await bench.config('none', { mount: 'elsewhere' }));
    expect(await failureOf(backend.wrap(localKey, never))).toMatchObject({ code: 'permission-denied' });
  });

  test('a token of the parent in a child namespace is denied; with a right there, or its own login, it works', async () => {
    await bench.root.post('sys/namespaces/team');
    const team = bench.root.with({ namespace: 'team' });
    await team.post('sys/mounts/transit', { type: 'transit' });
    await team.post('transit/keys/kms');
    const auth = async (policy: string) => ({
      method: 'token',
      namespace: 'root',
      tokenFile: await bench.secretFile(await bench.token(policy)),
    });
    const config = { ...bench.connection, key: 'kms', namespace: 'team' };
    const denied = await bench.open({ ...config, auth: await auth(everything) });
    expect(await failureOf(denied.backend.wrap(localKey, never))).toMatchObject({ code: 'permission-denied' });
    const allowed = await bench.open({
      ...config,
      auth: await auth('path "team/transit/*" { capabilities = ["create", "update"] }'),
    });
    const wrappedKey = await allowed.backend.wrap(localKey, never);
    await team.post('sys/policies/acl/kms', { policy: everything });
    const { auth: own } = (await team.post('auth/token/create', { policies: ['kms'] })) as {
      auth: { client_token: string };
    };
    const inside = await bench.open({
      ...config,
      auth: { method: 'token', tokenFile: await bench.secretFile(own.client_token) },
    });
    expect(await inside.backend.unwrap(wrappedKey, never)).toEqual(localKey);
  });
});

test('a rate limit is throttling, with the pause that Vault asks for', async () => {
  const { name } = await bench.key();
  const { backend } = await bench.open(await bench.config(name));
  await bench.root.post('sys/quotas/config', { enable_rate_limit_response_headers: true });
  await bench.root.post('sys/quotas/rate-limit/tests', { path: 'transit', rate: 1, interval: '60s' });
  try {
    const failure = await failureOf(Promise.all([1, 2, 3].map(() => backend.wrap(localKey, never))));
    expect(failure.code).toBe('throttled');
    expect(failure.retryAfterMs).toBeGreaterThan(0);
    expect(failure.retryAfterMs).toBeLessThanOrEqual(60_000);
  } finally {
    await bench.root.delete('sys/quotas/rate-limit/tests');
  }
});

test('a request that is too large is our own fault', async () => {
  const { name } = await bench.key();
  const { backend } = await bench.open(await bench.config(name));
  const failure = await failureOf(backend.wrap(new Uint8Array(33 * 1024 * 1024), never));
  expect(failure).toMatchObject({ code: 'internal', message: expect.stringContaining('413') });
});

test('sealed is unavailable for a running instance and for one that is opened; after a restart both work', async () => {
  const { name } = await bench.key();
  const config = await bench.config(name);
  const { backend, wrappedKey } = await wrapped(config);
  await waitFor(
    async () => {
      // This seal is opened by the server itself: after some seconds, or at once.
      await bench.root.post('sys/seal').catch(() => undefined);
      const [running, opened] = await failuresOf([backend.unwrap(wrappedKey, never), bench.firstCall(config)]);
      expect(running).toMatchObject({
        code: 'unavailable',
        message: `vault: unwrap with transit/${name}: sealed`,
      });
      expect(opened).toMatchObject({ code: 'unavailable' });
      return true;
    },
    { what: 'both to say that it is sealed', timeoutMs: 60_000 },
  );
  await bench.bao.restart();
  expect(await backend.unwrap(wrappedKey, never)).toEqual(localKey);
  const later = await bench.open(config);
  expect(await later.backend.unwrap(wrappedKey, never)).toEqual(localKey);
});

test('one that nobody has initialised is unavailable', async () => {
  const raw = await OpenBao.startUninitialised(`${bench.directory}/raw`);
  onTestFinished(() => raw.stop());
  const config = { ...(await bench.config('none')), address: raw.url, caFile: raw.caFile };
  expect(await failureOf(bench.firstCall(config))).toMatchObject({ code: 'unavailable' });
});

describe('on the way', () => {
  test('a certificate of another authority, or for another name, is not trusted', async () => {
    const { address } = bench.connection;
    const { auth } = await bench.config('none');
    expect(await failureOf(bench.firstCall({ address, key: 'none', auth }))).toMatchObject({ code: 'unavailable' });
    const wrongName = await bench.config('none', { serverName: 'vault.example.com' });
    expect(await failureOf(bench.firstCall(wrongName))).toMatchObject({ code: 'unavailable' });
  });

  test('an answer of a proxy that is no JSON is unavailable', async () => {
    const address = await answering((response) => response.writeHead(502).end('<html>bad gateway</html>'));
    expect(await failureOf(bench.firstCall(await bench.config('none', { address })))).toMatchObject({
      code: 'unavailable',
    });
  });

  test('a redirect to a host that is not configured is not followed: it would get the token', async () => {
    let visits = 0;
    const elsewhere = await answering((response) => {
      visits += 1;
      response.end('{}');
    });
    const address = await answering((response) =>
      response.writeHead(307, { location: `${elsewhere}/v1/auth/token/lookup-self` }).end(),
    );
    expect(await failureOf(bench.firstCall(await bench.config('none', { address })))).toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining(`a standby redirects to ${elsewhere}`),
    });
    expect(visits).toBe(0);
  });
});

/** The address of an HTTP server that lives as long as the test. */
async function answering(answer: (response: ServerResponse) => void): Promise<string> {
  const server = createServer((_request, response) => {
    answer(response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
