import { describe, expect, test } from 'vitest';
import { azureConfig } from '../src/config.js';

const id = '01234567-89ab-cdef-0123-456789abcdef';
const good = { vault: 'https://prod-kms.vault.azure.net', key: 'kms', auth: { method: 'managed-identity' } };
const isGood = (change: object) => azureConfig.safeParse({ ...good, ...change }).success;

test('the defaults are RSA-OAEP-256 and the public cloud', () => {
  expect(azureConfig.parse(good)).toMatchObject({ algorithm: 'RSA-OAEP-256', cloud: 'public' });
});

test('the vault’s URL is taken without a slash at its end and in lower case', () => {
  expect(azureConfig.parse({ ...good, vault: 'https://Prod-KMS.vault.azure.net/' }).vault).toBe(good.vault);
});

test.each([
  'http://prod-kms.vault.azure.net',
  'https://prod-kms',
  'https://prod-kms.vault.azure.net/keys/kms',
  'https://prod-kms.vault.azure.net/?a=b',
  'https://user:password@prod-kms.vault.azure.net',
  'prod-kms',
  '',
])('a vault that is no URL of a host alone is refused: %j', (vault) => {
  expect(isGood({ vault })).toBe(false);
});

test.each(['kms/0123', 'a b', '', '../secrets', 'k_ms', 'k'.repeat(128)])('a key name is refused: %j', (key) => {
  expect(isGood({ key })).toBe(false);
});

test.each(['RSA-OAEP', 'RSA1_5'])('%s is refused: the SDK would wrap by itself', (algorithm) => {
  expect(isGood({ algorithm })).toBe(false);
});

test.each(['10.0.0.5', '10.0.0.5:8443', 'private.example', '[::1]:443'])('an endpoint: %s', (endpoint) => {
  expect(isGood({ endpoint })).toBe(true);
});

test.each(['https://10.0.0.5', 'a/b', 'a@b', 'a b', ''])('no endpoint: %j', (endpoint) => {
  expect(isGood({ endpoint })).toBe(false);
});

describe('auth', () => {
  test.each([
    { method: 'managed-identity', clientId: id },
    { method: 'managed-identity', resourceId: '/subscriptions/x' },
    { method: 'workload-identity', tenantId: id, clientId: id, tokenFile: '/run/token' },
    { method: 'client-secret', tenantId: id, clientId: id, clientSecretFile: '/run/secret' },
    { method: 'client-certificate', tenantId: id, clientId: id, certificateFile: '/run/cert.pem' },
  ])('$method', (auth) => {
    expect(isGood({ auth })).toBe(true);
  });

  test.each([
    ['two names for one identity', { method: 'managed-identity', clientId: id, objectId: id }],
    ['a secret instead of its file', { method: 'client-secret', tenantId: id, clientId: id, clientSecret: 'x' }],
    ['a relative path', { method: 'client-secret', tenantId: id, clientId: id, clientSecretFile: 'secret' }],
    ['no tenant', { method: 'workload-identity', clientId: id, tokenFile: '/run/token' }],
    ['a method that is none', { method: 'password' }],
    ['an unknown key', { method: 'managed-identity', client: id }],
  ])('refused: %s', (_what, auth) => {
    expect(isGood({ auth })).toBe(false);
  });
});
