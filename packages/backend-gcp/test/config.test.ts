import { describe, expect, test } from 'vitest';
import { gcpConfig } from '../src/config.js';
import { isVersionOf } from '../src/key-version.js';

const key = 'projects/p/locations/europe-west3/keyRings/r/cryptoKeys/k';
const good = { key, auth: { method: 'metadata-server' } };
const isGood = (change: object) => gcpConfig.safeParse({ ...good, ...change }).success;

test.each([`${key}/cryptoKeyVersions/1`, `/${key}`, 'k', `${key}/`, `${key} `, key.replace('/p/', '//')])(
  'a key name is refused: %s',
  (name) => {
    expect(isGood({ key: name })).toBe(false);
  },
);

test.each(['cloudkms.europe-west3.rep.googleapis.com', 'localhost:8443'])('an endpoint: %s', (endpoint) => {
  expect(isGood({ endpoint })).toBe(true);
});

test.each(['https://cloudkms.googleapis.com', 'a/b', 'a@b', ''])('no endpoint: %j', (endpoint) => {
  expect(isGood({ endpoint })).toBe(false);
});

describe('auth', () => {
  test.each([
    { method: 'metadata-server', impersonate: 'a@b.iam.gserviceaccount.com' },
    { method: 'credential-file', file: '/run/credential.json' },
    { method: 'application-default' },
  ])('$method', (auth) => {
    expect(isGood({ auth })).toBe(true);
  });

  test.each([
    ['a relative path', { method: 'credential-file', file: 'credential.json' }],
    ['an account that is no address', { method: 'metadata-server', impersonate: 'a' }],
    ['an account with a path in it', { method: 'metadata-server', impersonate: 'a/b@c' }],
    ['an unknown key', { method: 'application-default', file: '/x' }],
  ])('refused: %s', (_what, auth) => {
    expect(isGood({ auth })).toBe(false);
  });
});

describe('a KEK id', () => {
  const config = gcpConfig.parse(good);

  test('names a version of the key', () => {
    expect(isVersionOf(`${key}/cryptoKeyVersions/12`, config)).toBe(true);
  });

  test.each([
    key,
    `${key}2/cryptoKeyVersions/1`,
    `${key}/cryptoKeyVersions/`,
    `${key}/cryptoKeyVersions/0`,
    `${key}/cryptoKeyVersions/01`,
    `${key}/cryptoKeyVersions/1/`,
    `${key}/cryptoKeyVersions/1:destroy`,
    key.replace('/p/', '/q/') + '/cryptoKeyVersions/1',
    '',
  ])('that is of anything else is none: %s', (kekId) => {
    expect(isVersionOf(kekId, config)).toBe(false);
  });
});
