import { expect, test } from 'vitest';
import { KekIds } from '../src/kek-id.js';

const kekIds = new KekIds({ mount: 'team/transit', key: 'kms' });

test.each([
  [{ version: 1, createdAt: undefined }, 'vault/team/transit/kms/1'],
  [{ version: 12, createdAt: 1_795_573_078 }, 'vault/team/transit/kms/12/1795573078'],
])('%j is %s, there and back', (version, kekId) => {
  expect(kekIds.format(version)).toBe(kekId);
  expect(kekIds.parse(kekId)).toEqual(version);
});

test.each([
  '',
  'vault/team/transit/kms',
  'vault/team/transit/kms/',
  'vault/team/transit/kms/0',
  'vault/team/transit/kms/01',
  'vault/team/transit/kms/-1',
  'vault/team/transit/kms/1/',
  'vault/team/transit/kms/1/x',
  'vault/team/transit/kms/1/2/3',
  'vault/team/transit/kms/1\n',
  'vault/team/transit/other/1',
  'vault/transit/kms/1',
  'vault/team/transit/kms/../other/1',
  'local/team/transit/kms/1',
])('%j names no version of the key', (kekId) => {
  expect(kekIds.parse(kekId)).toBeUndefined();
});
