import { randomBytes } from 'node:crypto';
import { createServer } from 'node:https';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { isBackendError } from '@sealwax/core';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { FaultProxy } from '../../src/fault-proxy.js';
import { JwtIssuer } from '../../src/openbao/jwt-issuer.js';
import { TestAuthority } from '../../src/test-certificates.js';
import { WorkloadApi } from '../../src/openbao/workload-api.js';
import { failureOf, never, VaultBench, type VaultSection } from '../../src/openbao/vault-bench.js';

const localKey = new Uint8Array(randomBytes(32));
const patience = { timeout: 20_000, interval: 100 };

const clients = new TestAuthority('clients of a test');
let bench: VaultBench;
let key: string;
let policy: string;
beforeAll(async () => {
  bench = await VaultBench.start('vault-login', { clientAuthority: clients });
  ({ name: key } = await bench.key());
  policy = await bench.policy(
    ['encrypt', 'decrypt'].map((verb) => `path "transit/${verb}/${key}" { capabilities = ["update"] }`).join('\n'),
  );
});
afterAll(() => bench.stop());

const section = (auth: VaultSection, change: VaultSection = {}) => ({ ...bench.connection, key, auth, ...change });

async function worksWith(config: VaultSection): Promise<void> {
  const { backend } = await bench.open(config);
  expect(await backend.unwrap(await backend.wrap(localKey, never), never)).toEqual(localKey);
}

/** An AppRole of its own, and the `auth` that logs in by it. */
async function appRole(options: VaultSection = {}): Promise<{ readonly auth: VaultSection; readonly mount: string }> {
  const mount = bench.name('approle');
  await bench.root.post(`sys/auth/${mount}`, { type: 'approle' });
  await bench.root.post(`auth/${mount}/role/sealwax`, { token_policies: [policy], token_ttl: '1h', ...options });
  const { data } = (await bench.root.get(`auth/${mount}/role/sealwax/role-id`)) as { data: { role_id: string } };
  const { data: secret } = (await bench.root.post(`auth/${mount}/role/sealwax/secret-id`)) as {
    data: { secret_id: string };
  };
  const secretIdFile = await bench.secretFile(secret.secret_id);
  return { mount, auth: { method: 'approle', mount, roleId: data.role_id, secretIdFile } };
}

async function token(options: VaultSection): Promise<string> {
  const { auth } = (await bench.root.post('auth/token/create', { policies: [policy], ...options })) as {
    auth: { client_token: string };
  };
  return auth.client_token;
}

/** How many tokens there are now, root's among them. */
async function tokens(): Promise<number> {
  const { data } = (await bench.root.list('auth/token/accessors')) as { data: { keys: string[] } };
  return data.keys.length;
}

/** A config whose requests go through a proxy that counts them. */
async function counted(config: VaultSection): Promise<{ readonly proxy: FaultProxy; readonly config: VaultSection }> {
  const { certificate, authority, port } = bench.bao;
  const proxy = await FaultProxy.start({
    upstreamPort: port,
    http: { tls: { ...certificate, upstreamCa: authority.cert } },
  });
  onTestFinished(() => proxy.stop());
  return { proxy, config: { ...config, address: `https://localhost:${proxy.port}` } };
}

describe('each method logs in, and says so when it is refused', () => {
  test('token', async () => {
    await worksWith(section({ method: 'token', tokenFile: await bench.secretFile(await token({ ttl: '1h' })) }));
    for (const bad of ['s.neverwas', 'two words', 'schlüssel']) {
      const tokenFile = await bench.secretFile(bad);
      const failure = await failureOf(bench.firstCall(section({ method: 'token', tokenFile })));
      expect(failure).toMatchObject({ code: 'unauthenticated' });
      expect(failure.message).not.toContain(bad);
    }
  });

  test('token without the right to look itself up: works, with advice', async () => {
    const value = await token({ ttl: '1h', no_default_policy: true });
    const { backend, facts } = await bench.open(section({ method: 'token', tokenFile: await bench.secretFile(value) }));
    await backend.wrap(localKey, never);
    expect(JSON.stringify(facts)).toContain('may not look itself up');
  });

  test('approle', async () => {
    const { auth } = await appRole();
    await worksWith(section(auth));
    const wrong = section({ ...auth, secretIdFile: await bench.secretFile('wrong') });
    expect(await failureOf(bench.firstCall(wrong))).toMatchObject({
      code: 'unauthenticated',
      message: expect.stringMatching(/^vault: log in at auth\/approle-\d+: 400 invalid role or secret ID$/),
    });
    const noMount = section({ ...auth, mount: 'nowhere' });
    expect(await failureOf(bench.firstCall(noMount))).toMatchObject({ code: 'unauthenticated' });
  });

  test('approle without a secret id, where the role wants none', async () => {
    const { mount, auth } = await appRole();
    await bench.root.post(`auth/${mount}/role/sealwax`, { bind_secret_id: false, token_bound_cidrs: ['127.0.0.1/32'] });
    await worksWith(section({ method: 'approle', mount, roleId: auth['roleId'] }));
  });

  test('userpass', async () => {
    await bench.root.post('sys/auth/userpass', { type: 'userpass' });
    await bench.root.post('auth/userpass/users/sealwax', { password: 'correct horse', token_policies: [policy] });
    const auth = { method: 'userpass', username: 'sealwax' };
    await worksWith(section({ ...auth, passwordFile: await bench.secretFile('correct horse') }));
    const wrong = section({ ...auth, passwordFile: await bench.secretFile('wrong') });
    expect(await failureOf(bench.firstCall(wrong))).toMatchObject({ code: 'unauthenticated' });
  });

  test('cert', async () => {
    await bench.root.post('sys/auth/cert', { type: 'cert' });
    await bench.root.post('auth/cert/certs/nodes', {
      certificate: clients.cert,
      allowed_common_names: ['node-1'],
      token_policies: [policy],
    });
    const shown = async (name: string) => {
      const { cert, key: privateKey } = clients.issue([name]);
      const keyFile = await bench.secretFile(privateKey);
      const certFile = path.join(bench.directory, bench.name('client.pem'));
      await writeFile(certFile, cert);
      return { certFile, keyFile };
    };
    await worksWith(section({ method: 'cert' }, await shown('node-1')));
    await worksWith(section({ method: 'cert', name: 'nodes' }, await shown('node-1')));
    expect(await failureOf(bench.firstCall(section({ method: 'cert' }, await shown('node-2'))))).toMatchObject({
      code: 'unauthenticated',
    });
  });

  test('jwt, from a file that is read again at each login', async () => {
    const issuer = new JwtIssuer();
    await bench.root.post('sys/auth/jwt', { type: 'jwt' });
    await bench.root.post('auth/jwt/config', {
      jwt_validation_pubkeys: [issuer.publicKey],
    });
    await bench.root.post('auth/jwt/role/sealwax', {
      role_type: 'jwt',
      user_claim: 'sub',
      bound_audiences: ['vault'],
      token_policies: [policy],
      token_ttl: '2s',
      token_max_ttl: '2s',
    });
    const jwt = (change: object = {}) => issuer.issue({ sub: 'node-1', aud: 'vault', ...change });
    const now = Math.floor(Date.now() / 1_000);
    const tokenFile = await bench.secretFile(jwt({ iat: now - 900, nbf: now - 900, exp: now - 600 }));
    const config = section({ method: 'jwt', role: 'sealwax', tokenFile });
    expect(await failureOf(bench.firstCall(config))).toMatchObject({
      code: 'unauthenticated',
      message: expect.stringContaining('token is expired'),
    });
    await bench.secretFile(jwt(), tokenFile);
    const { backend } = await bench.open(config);
    await backend.wrap(localKey, never);
    // The token of that login is over in 2 s: from then on what stands in the file counts.
    await bench.secretFile('broken', tokenFile);
    await expect.poll(async () => outcome(backend.wrap(localKey, never)), patience).toBe('unauthenticated');
    await bench.secretFile(jwt(), tokenFile);
    await backend.wrap(localKey, never);
  });

  test('jwt, from the SPIFFE Workload API at each login', async () => {
    const issuer = new JwtIssuer();
    const mount = bench.name('jwt');
    await bench.root.post(`sys/auth/${mount}`, { type: 'jwt' });
    await bench.root.post(`auth/${mount}/config`, { jwt_validation_pubkeys: [issuer.publicKey] });
    await bench.root.post(`auth/${mount}/role/sealwax`, {
      role_type: 'jwt',
      user_claim: 'sub',
      bound_audiences: ['vault'],
      bound_subject: 'spiffe://example.com/sealwax',
      token_policies: [policy],
      token_ttl: '2s',
      token_max_ttl: '2s',
    });
    const socket = path.join(bench.directory, 'agent.sock');
    const spiffe = { socket, audience: 'vault' };
    const config = section({ method: 'jwt', mount, role: 'sealwax', spiffe });
    // No agent runs yet.
    expect(await failureOf(bench.firstCall(config))).toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining(`vault: log in at auth/${mount}: the SPIFFE Workload API at ${socket}: `),
    });
    const agent = await WorkloadApi.start(socket);
    onTestFinished(() => {
      agent.stop();
    });
    const { backend } = await bench.open(config);
    // It runs, and knows of no identity for us.
    expect(await failureOf(backend.wrap(localKey, never))).toMatchObject({ code: 'unauthenticated' });
    agent.issue = (audience) =>
      new Map(
        ['sealwax', 'other'].map((name) => {
          const sub = `spiffe://example.com/${name}`;
          return [sub, issuer.issue({ sub, aud: audience })];
        }),
      );
    expect(await backend.unwrap(await backend.wrap(localKey, never), never)).toEqual(localKey);
    // Each token is over in 2 s, and each login fetches a JWT.
    const fetched = agent.fetched;
    await expect
      .poll(async () => {
        await backend.wrap(localKey, never);
        return agent.fetched;
      }, patience)
      .toBeGreaterThan(fetched + 1);
    for (const wrong of [{ audience: 'somebody-else' }, { spiffeId: 'spiffe://example.com/other' }]) {
      const refused = section({ method: 'jwt', mount, role: 'sealwax', spiffe: { ...spiffe, ...wrong } });
      const failure = await failureOf(bench.firstCall(refused));
      // That of Vault, which got a JWT.
      expect(failure).toMatchObject({ code: 'unauthenticated' });
      expect(failure.message).not.toContain('SPIFFE');
    }
  });

  test('kubernetes, with an API server that reviews the token', async () => {
    const issuer = new JwtIssuer();
    const good = issuer.issue({
      iss: 'kubernetes/serviceaccount',
      sub: 'system:serviceaccount:kube-system:sealwax',
      'kubernetes.io': { namespace: 'kube-system', serviceaccount: { name: 'sealwax', uid: 'a-uid' } },
    });
    // Of an API server only the review is asked for (authentication.k8s.io/v1, TokenReview).
    const server = createServer(bench.bao.certificate, (request, response) => {
      void json(request).then((review) => {
        const { spec } = review as { spec: { token: string } };
        const user = { username: 'system:serviceaccount:kube-system:sealwax', uid: 'a-uid', groups: [] };
        const status = spec.token === good ? { authenticated: true, user } : { authenticated: false };
        response.writeHead(201, { 'content-type': 'application/json' });
        response.end(JSON.stringify({ apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec, status }));
      });
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    await bench.root.post('sys/auth/kubernetes', { type: 'kubernetes' });
    await bench.root.post('auth/kubernetes/config', {
      kubernetes_host: `https://localhost:${(server.address() as AddressInfo).port}`,
      kubernetes_ca_cert: bench.bao.authority.cert,
      token_reviewer_jwt: issuer.issue({ sub: 'reviewer' }),
      disable_local_ca_jwt: true,
    });
    await bench.root.post('auth/kubernetes/role/sealwax', {
      bound_service_account_names: ['sealwax'],
      bound_service_account_namespaces: ['kube-system'],
      token_policies: [policy],
    });
    const auth = { method: 'kubernetes', role: 'sealwax' };
    await worksWith(section({ ...auth, tokenFile: await bench.secretFile(good) }));
    const stranger = await bench.secretFile(new JwtIssuer().issue({ sub: 'somebody' }));
    expect(await failureOf(bench.firstCall(section({ ...auth, tokenFile: stranger })))).toMatchObject({
      code: 'unauthenticated',
    });
    // 403 says no more when the API server is away: Vault cannot tell, and it is no refusal of the key.
    server.closeAllConnections();
    server.close();
    expect(
      await failureOf(bench.firstCall(section({ ...auth, tokenFile: await bench.secretFile(good) }))),
    ).toMatchObject({
      code: 'unauthenticated',
    });
  });
});

describe('the life of a token', () => {
  test('a renewable one is renewed at two thirds, for longer than it would have lived', async () => {
    const { auth, mount } = await appRole({ token_ttl: '2s', token_max_ttl: '1h' });
    const { backend, facts } = await bench.open(section(auth));
    await backend.wrap(localKey, never);
    const logins = (await appRoleTokens(mount)).length;
    const expiries = () => facts.filter(({ kind }) => kind === 'credential-expiry').length;
    await expect.poll(expiries, patience).toBeGreaterThan(4);
    await backend.wrap(localKey, never);
    expect(await appRoleTokens(mount)).toHaveLength(logins);
  });

  test('at its max TTL there is a new login, before the old token ends', async () => {
    const { auth } = await appRole({ token_ttl: '2s', token_max_ttl: '3s' });
    const { backend } = await bench.open(section(auth));
    const until = Date.now() + 5_000;
    while (Date.now() < until) await backend.wrap(localKey, never);
  });

  test('a batch token is replaced by a login before it ends', async () => {
    const { auth } = await appRole({ token_type: 'batch', token_ttl: '2s', token_max_ttl: '2s' });
    const { backend } = await bench.open(section(auth));
    const until = Date.now() + 4_500;
    while (Date.now() < until) await backend.wrap(localKey, never);
  });

  test('one with a number of uses is replaced when they are used up, also under load', async () => {
    const { auth } = await appRole({ token_num_uses: 3 });
    const { backend } = await bench.open(section(auth));
    for (let round = 0; round < 8; round += 1) await backend.wrap(localKey, never);
    await Promise.all(Array.from({ length: 10 }, async () => backend.wrap(localKey, never)));
  });

  test('one that was revoked costs one login, however many calls meet it', async () => {
    const { auth, mount } = await appRole();
    const { backend } = await bench.open(section(auth));
    const wrappedKey = await backend.wrap(localKey, never);
    await bench.root.post(`sys/leases/revoke-prefix/auth/${mount}/login`);
    const before = await tokens();
    const calls = Array.from({ length: 10 }, async () => backend.unwrap(wrappedKey, never));
    expect(await Promise.all(calls)).toEqual(Array.from({ length: 10 }, () => localKey));
    expect(await tokens()).toBe(before + 1);
  });

  test('one that has expired costs one login, and no request with the dead token', async () => {
    const { auth } = await appRole({ token_ttl: '1s', token_max_ttl: '1s' });
    const { proxy, config } = await counted(section(auth));
    const { backend } = await bench.open(config);
    await backend.wrap(localKey, never);
    // So long away that no renewal comes through.
    await proxy.set({ kind: 'refuse' });
    expect(await failureOf(backend.wrap(localKey, never))).toMatchObject({ code: 'unavailable' });
    const expired = Date.now() + 1_200;
    await expect.poll(() => Date.now() > expired, patience).toBe(true);
    await proxy.set({ kind: 'pass' });
    const before = proxy.requests;
    await Promise.all(Array.from({ length: 10 }, async () => backend.wrap(localKey, never)));
    expect(proxy.requests - before).toBeLessThanOrEqual(11 + 1);
  });

  test('a refused secret is not shown again and again, which would lock its role out, and a new one counts at once', async () => {
    const { auth } = await appRole();
    const secretIdFile = auth['secretIdFile'] as string;
    const good = (await readFile(secretIdFile, 'utf8')).trim();
    await bench.secretFile('wrong', secretIdFile);
    const { proxy, config } = await counted(section(auth));
    const { backend } = await bench.open(config);
    // OpenBao locks after five.
    for (let round = 0; round < 20; round += 1) {
      expect(await failureOf(backend.wrap(localKey, never))).toMatchObject({ code: 'unauthenticated' });
    }
    expect(proxy.requests).toBeLessThan(4);
    await bench.secretFile(good, secretIdFile);
    await backend.wrap(localKey, never);
  });

  test('one from a file: a new file counts without anybody asking, a dead one is unauthenticated', async () => {
    const tokenFile = await bench.secretFile(await token({ ttl: '1h' }));
    const { backend } = await bench.open(section({ method: 'token', tokenFile }));
    const wrappedKey = await backend.wrap(localKey, never);
    const { data } = (await bench.root.list('auth/token/accessors')) as { data: { keys: string[] } };
    for (const accessor of data.keys) {
      const about = (await bench.root.post('auth/token/lookup-accessor', { accessor }).catch(() => undefined)) as
        { data: { policies: string[] } } | undefined;
      if (about?.data.policies.includes(policy)) await bench.root.post('auth/token/revoke-accessor', { accessor });
    }
    expect(await failureOf(backend.unwrap(wrappedKey, never))).toMatchObject({ code: 'unauthenticated' });
    await bench.secretFile(await token({ ttl: '1h' }), tokenFile);
    expect(await backend.unwrap(wrappedKey, never)).toEqual(localKey);
  });

  test('one from a file is renewed too, and not when it cannot be', async () => {
    const renewable = await bench.secretFile(await token({ ttl: '2s', explicit_max_ttl: '1h' }));
    const fixed = await bench.secretFile(await token({ ttl: '3s', renewable: false }));
    const kept = await bench.open(section({ method: 'token', tokenFile: renewable }));
    const ending = await bench.open(section({ method: 'token', tokenFile: fixed }));
    await Promise.all([kept, ending].map(({ backend }) => backend.wrap(localKey, never)));
    await expect.poll(async () => outcome(ending.backend.wrap(localKey, never)), patience).toBe('unauthenticated');
    await kept.backend.wrap(localKey, never);
  });

  test('a policy that comes to a role later counts after one more login, which a denied call makes once', async () => {
    const { auth, mount } = await appRole({ token_policies: ['default'] });
    const { proxy, config } = await counted(section(auth));
    const { backend } = await bench.open(config);
    expect(await failureOf(backend.wrap(localKey, never))).toMatchObject({ code: 'permission-denied' });
    const before = proxy.requests;
    expect(await failureOf(backend.wrap(localKey, never))).toMatchObject({ code: 'permission-denied' });
    // The wrap and the look whether the key is there: a token that was made a moment ago has all rights there are.
    expect(proxy.requests - before).toBe(2);
    await bench.root.post(`auth/${mount}/role/sealwax`, { token_policies: [policy] });
    await expect
      .poll(async () => backend.wrap(localKey, never).then(() => 'wrapped', String), { timeout: 60_000, interval: 500 })
      .toBe('wrapped');
  });

  test('VAULT_TOKEN, VAULT_NAMESPACE, VAULT_ADDR and VAULT_SKIP_VERIFY of the environment count for nothing', async () => {
    const ours = {
      VAULT_TOKEN: bench.bao.rootToken,
      VAULT_NAMESPACE: 'nowhere',
      VAULT_PREFIX: '/x',
      VAULT_SKIP_VERIFY: '1',
    };
    const before = { ...process.env };
    Object.assign(process.env, ours, { VAULT_ADDR: 'http://127.0.0.1:1' });
    onTestFinished(() => {
      process.env = before;
    });
    const { auth } = await appRole({ token_policies: ['default'] });
    const { backend } = await bench.open(section(auth));
    expect(await failureOf(backend.wrap(localKey, never))).toMatchObject({ code: 'permission-denied' });
    const { address } = bench.connection;
    expect(await failureOf(bench.firstCall({ address, key, auth }))).toMatchObject({ code: 'unavailable' });
  });
});

/** `wrapped`, or the code of the error. */
async function outcome(wrap: Promise<unknown>): Promise<string> {
  return wrap.then(
    () => 'wrapped',
    (error: unknown) => (isBackendError(error) ? error.code : String(error)),
  );
}

/** Accessors of the tokens that logins at `mount` made and that still live. */
async function appRoleTokens(mount: string): Promise<string[]> {
  const { data } = (await bench.root.list('auth/token/accessors')) as { data: { keys: string[] } };
  const found = await Promise.all(
    data.keys.map(async (accessor) => {
      const about = await bench.root.post('auth/token/lookup-accessor', { accessor }).catch(() => undefined);
      return (about as { data: { path: string } } | undefined)?.data.path === `auth/${mount}/login` ? [accessor] : [];
    }),
  );
  return found.flat();
}
