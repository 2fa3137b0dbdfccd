import { expect, test } from 'vitest';
import { azureConfig } from '../src/config.js';
import { kekIdOf, versionIn } from '../src/key-version.js';

const config = azureConfig.parse({
  vault: 'https://prod-kms.vault.azure.net',
  key: 'kms',
  auth: { method: 'managed-identity' },
});
const version = '0123456789abcdef0123456789abcdef';

test('an id names its version', () => {
  expect(kekIdOf(config, version)).toBe(`https://prod-kms.vault.azure.net/keys/kms/${version}`);
  expect(versionIn(kekIdOf(config, version), config)).toBe(version);
});

test('an id that spells host and name otherwise is the same', () => {
  expect(versionIn(`https://PROD-kms.vault.azure.net/keys/KMS/${version}`, config)).toBe(version);
});

test.each([
  `https://other.vault.azure.net/keys/kms/${version}`,
  `https://prod-kms.vault.azure.net.evil.example/keys/kms/${version}`,
  `https://prod-kms.vault.azure.net/keys/other/${version}`,
  `https://prod-kms.vault.azure.net/keys/kms2/${version}`,
  `https://prod-kms.vault.azure.net/secrets/kms/${version}`,
  `https://prod-kms.vault.azure.net/keys/kms/${version}/`,
  `https://prod-kms.vault.azure.net/keys/kms/${version.toUpperCase()}`,
  `https://prod-kms.vault.azure.net/keys/kms/`,
  `https://prod-kms.vault.azure.net/keys/kms/../../${version}`,
  `http://prod-kms.vault.azure.net/keys/kms/${version}`,
  '',
])('an id of anything else names none: %s', (kekId) => {
  expect(versionIn(kekId, config)).toBeUndefined();
});
