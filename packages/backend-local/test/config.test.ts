import { describe, expect, test } from 'vitest';
import { backend } from '../src/index.js';

const check = async (config: unknown) => backend.config['~standard'].validate(config);

test('the module is written for version 1 of the interface', () => {
  expect(backend.apiVersion).toBe(1);
});

test('takes an absolute path', async () => {
  expect(await check({ path: '/etc/sealwax/kek.json' })).toEqual({ value: { path: '/etc/sealwax/kek.json' } });
});

describe('refuses', () => {
  test.each([
    ['a relative path', { path: 'kek.json' }, ['path']],
    ['an empty path', { path: '' }, ['path']],
    ['no path', {}, ['path']],
    ['a path that is no text', { path: 7 }, ['path']],
    ['an unknown property', { path: '/kek.json', pth: '/kek.json' }, []],
    ['no section at all', undefined, []],
    ['a text', '/kek.json', []],
  ])('%s, and says where', async (_what, config, where) => {
    const { issues } = await check(config);
    expect(issues).toHaveLength(1);
    expect(issues?.[0]?.path ?? []).toEqual(where);
  });
});

test('offers JSON Schema for editors', () => {
  const standard: object = backend.config['~standard'];
  expect(standard).toHaveProperty('jsonSchema');
});
