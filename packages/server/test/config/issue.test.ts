import { describe, expect, test } from 'vitest';
import { locate, nearest } from '../../src/config/issue.js';

describe('the nearest name', () => {
  test.each([
    ['valut', 'vault'],
    ['Vault', 'vault'],
    ['vlt', 'vault'],
    ['loca', 'local'],
    ['azur', 'azure'],
  ])('to %s is %s', (word, expected) => {
    expect(nearest(word, ['local', 'vault', 'aws', 'azure'])).toBe(expected);
  });

  test('is none when nothing is like it', () => {
    expect(nearest('something', ['local', 'vault'])).toBeUndefined();
    expect(nearest('local', [])).toBeUndefined();
  });
});

describe('the path of an issue', () => {
  test('has dots for names and brackets for places', () => {
    const { error, path } = locate({ message: 'required', path: ['auth', 'role'] }, ['keys', 0, 'config'], undefined);
    expect(error.message).toBe('keys[0].config.auth.role: required');
    expect(path).toEqual(['keys', 0, 'config', 'auth', 'role']);
  });

  test('may have the objects that Standard Schema allows for steps', () => {
    const { error } = locate({ message: 'required', path: [{ key: 'auth' }, { key: 1 }] }, [], undefined);
    expect(error.message).toBe('auth[1]: required');
  });

  test('is left out when the whole is meant', () => {
    expect(locate({ message: 'must be a mapping' }, [], undefined).error.message).toBe('must be a mapping');
  });
});

describe('the suggestion for an unknown key', () => {
  const unknown = (path: readonly PropertyKey[], name: string, schema: unknown) =>
    locate({ message: '', code: 'unrecognized_keys', path, keys: [name] }, [], schema).error.message;

  test('comes from every branch of a union', () => {
    const schema = {
      properties: {
        auth: {
          oneOf: [{ properties: { tokenFile: {} } }, { anyOf: [{ properties: { roleId: {} } }] }],
        },
      },
    };
    expect(unknown(['auth'], 'tokenfile', schema)).toBe('auth.tokenfile: unknown key; did you mean "tokenFile"?');
    expect(unknown(['auth'], 'roleID', schema)).toBe('auth.roleID: unknown key; did you mean "roleId"?');
  });

  test('is left out where a schema library offers no JSON Schema', () => {
    expect(unknown([], 'tokenfile', undefined)).toBe('tokenfile: unknown key');
  });
});
