import { expect, test } from 'vitest';
import { hsmConfig } from '../src/config.js';

const least = { module: '/m.so', token: { label: 'kms' }, key: { label: 'kms' } };

test('the least config is filled with defaults', () => {
  expect(hsmConfig.parse(least)).toEqual({
    ...least,
    environment: {},
    moduleOutput: 'discard',
    current: 'newest',
    fingerprint: 'auto',
    rereadModule: false,
    sessions: 4,
    callTimeoutSeconds: 5,
    openTimeoutSeconds: 10,
    memoryLimitMebibytes: 512,
  });
});

test.each([
  ['module', { module: 'm.so' }],
  ['token', { token: {} }],
  ['token', { token: { slot: 0 } }],
  ['key', { key: {} }],
  ['key.id', { key: { id: '0A' } }],
  ['key.id', { key: { id: '1' } }],
  ['environment.A=B', { environment: { 'A=B': 'c' } }],
  ['pinFile', { pinFile: 'pin' }],
  ['pin', { pin: '1234' }],
  ['mechanism', { mechanism: 'aes-ecb' }],
  ['hash', { mechanism: 'aes-gcm', hash: 'sha256' }],
  ['macKey', { mechanism: 'aes-gcm', macKey: { label: 'x' } }],
  ['current', { key: { label: 'kms', id: '01' }, current: '02' }],
  ['current', { current: 'latest' }],
  ['sessions', { sessions: 0 }],
])('%s is refused: %j', (path, change) => {
  const { error } = hsmConfig.safeParse({ ...least, ...change });
  const [issue] = error?.issues ?? [];
  const named = issue?.code === 'unrecognized_keys' ? [...issue.path, ...issue.keys] : issue?.path;
  expect([path, path.split('.')[0]]).toContain(named?.join('.').replace(/\.slot$/, ''));
});
