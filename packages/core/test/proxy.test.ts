import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { proxyFor } from '../src/proxy.js';

beforeEach(() => {
  for (const name of ['HTTPS_PROXY', 'HTTP_PROXY', 'ALL_PROXY', 'NO_PROXY']) {
    vi.stubEnv(name, undefined);
    vi.stubEnv(name.toLowerCase(), undefined);
  }
});
afterEach(() => {
  vi.unstubAllEnvs();
});

const URL_OF_KMS = 'https://kms.eu-west-1.example.com:8200/v1/transit';
const PROXY = 'http://proxy.example:3128';

test('without a proxy in the environment there is none', () => {
  expect(proxyFor(URL_OF_KMS)).toBeUndefined();
});

test.each(['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy'])('%s names it for https', (name) => {
  vi.stubEnv(name, PROXY);
  expect(proxyFor(URL_OF_KMS)?.href).toBe(`${PROXY}/`);
});

test('HTTP_PROXY names it for http and not for https', () => {
  vi.stubEnv('HTTP_PROXY', PROXY);
  expect(proxyFor('http://169.254.169.254/latest')?.href).toBe(`${PROXY}/`);
  expect(proxyFor(URL_OF_KMS)).toBeUndefined();
});

test.each(['kms.eu-west-1.example.com', '.example.com', '*', 'other,.example.com', 'kms.eu-west-1.example.com:8200'])(
  'NO_PROXY=%s leaves it out',
  (value) => {
    vi.stubEnv('HTTPS_PROXY', PROXY);
    vi.stubEnv('NO_PROXY', value);
    expect(proxyFor(URL_OF_KMS)).toBeUndefined();
  },
);

test.each(['example.org', '.eu-west-2.example.com', 'kms.eu-west-1.example.com:443'])(
  'NO_PROXY=%s, of another host or port, does not',
  (value) => {
    vi.stubEnv('HTTPS_PROXY', PROXY);
    vi.stubEnv('NO_PROXY', value);
    expect(proxyFor(URL_OF_KMS)?.href).toBe(`${PROXY}/`);
  },
);

test('what is no URL is said at once', () => {
  vi.stubEnv('HTTPS_PROXY', 'http://:bad:');
  expect(() => proxyFor(URL_OF_KMS)).toThrow(TypeError);
});
