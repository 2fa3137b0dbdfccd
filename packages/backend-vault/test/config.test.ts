import { describe, expect, test } from 'vitest';
import { vaultConfig } from '../src/config.js';

const minimal = {
  address: 'https://vault.example.com:8200',
  key: 'kms',
  auth: { method: 'token', tokenFile: '/etc/sealwax/token' },
};

function issues(change: object): string[] {
  const { error } = vaultConfig.safeParse({ ...minimal, ...change });
  return error?.issues.map(({ path }) => path.join('.')) ?? [];
}

test('fills what is absent', () => {
  expect(vaultConfig.parse(minimal)).toEqual({
    ...minimal,
    otherAddresses: [],
    allowPlainHttp: false,
    mount: 'transit',
    kekId: 'version',
  });
});

test.each(['https://vault.example.com', 'https://10.0.0.1:8200', 'https://[::1]:8200', 'https://vault.example.com/'])(
  'takes the address %s',
  (address) => {
    expect(issues({ address })).toEqual([]);
  },
);

test.each([
  'vault.example.com',
  'ftp://vault.example.com',
  'https://vault.example.com/vault',
  'https://vault.example.com?x=1',
  'https://user:password@vault.example.com',
  'http://vault.example.com:8200',
  'http://10.0.0.1:8200',
  'http://127.0.0.1.example.com',
])('refuses the address %s', (address) => {
  expect(issues({ address })).toEqual(['address']);
  expect(issues({ otherAddresses: [address] })).toEqual(['otherAddresses.0']);
});

test('takes plain http on loopback, and elsewhere only when told so', () => {
  for (const address of ['http://127.0.0.1:8200', 'http://localhost:8200', 'http://[::1]:8200'])
    expect(issues({ address })).toEqual([]);
  expect(issues({ address: 'http://vault.example.com', allowPlainHttp: true })).toEqual([]);
});

test.each(['', '.', '..', 'a/b', 'a b', 'a?b', 'a#b', 'a%2fb', 'schlüssel'])('refuses the key name %j', (key) => {
  expect(issues({ key })).toContain('key');
});

test('a mount or a namespace may have slashes, and those around it go', () => {
  expect(vaultConfig.parse({ ...minimal, mount: '/team/transit/', namespace: 'platform/prod/' })).toMatchObject({
    mount: 'team/transit',
    namespace: 'platform/prod',
  });
  for (const text of ['', 'a//b', 'a/../b', 'a/./b', 'a b']) {
    expect(issues({ mount: text })).toEqual(['mount']);
    expect(issues({ namespace: text })).toEqual(['namespace']);
  }
});

describe('auth', () => {
  test.each([
    { method: 'approle', roleId: 'r', secretIdFile: '/s' },
    { method: 'kubernetes', role: 'r' },
    { method: 'jwt', role: 'r', tokenFile: '/t' },
    { method: 'jwt', role: 'r', spiffe: { socket: '/run/agent.sock', audience: 'vault' } },
    { method: 'userpass', username: 'u', passwordFile: '/p' },
  ])('takes $method', (auth) => {
    expect(issues({ auth })).toEqual([]);
    expect(issues({ auth: { ...auth, surprise: 1 } })).toEqual(['auth']);
  });

  test('cert needs a certificate, and a certificate its key', () => {
    const auth = { method: 'cert' };
    expect(issues({ auth })).toEqual(['certFile']);
    expect(issues({ auth, certFile: '/c', keyFile: '/k' })).toEqual([]);
    expect(issues({ certFile: '/c' })).toEqual(['keyFile']);
    expect(issues({ keyFile: '/k' })).toEqual(['certFile']);
  });

  test('jwt is from a file or from the Workload API', () => {
    const auth = { method: 'jwt', role: 'r' };
    const spiffe = { socket: '/run/agent.sock', audience: 'vault' };
    expect(issues({ auth })).toEqual(['auth']);
    expect(issues({ auth: { ...auth, tokenFile: '/t', spiffe } })).toEqual(['auth']);
    expect(issues({ auth: { ...auth, spiffe: { ...spiffe, spiffeId: 'spiffe://example.com/sealwax' } } })).toEqual([]);
    expect(issues({ auth: { ...auth, spiffe: { ...spiffe, spiffeId: 'sealwax' } } })).toEqual(['auth.spiffe.spiffeId']);
    expect(issues({ auth: { ...auth, spiffe: { ...spiffe, socket: 'agent.sock' } } })).toEqual(['auth.spiffe.socket']);
    expect(issues({ auth: { ...auth, spiffe: { ...spiffe, audience: '' } } })).toEqual(['auth.spiffe.audience']);
    expect(issues({ auth: { ...auth, spiffe: { ...spiffe, surprise: 1 } } })).toEqual(['auth.spiffe']);
  });

  test('secrets are absolute paths', () => {
    expect(issues({ auth: { method: 'token', tokenFile: 'token' } })).toEqual(['auth.tokenFile']);
  });
});
