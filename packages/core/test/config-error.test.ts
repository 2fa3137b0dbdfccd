import { expect, test } from 'vitest';
import { ConfigError, isConfigError } from '../src/config-error.js';

test('says where, in front of what', () => {
  const error = new ConfigError('keys[0].config.auth.role', 'required');
  expect(error.path).toBe('keys[0].config.auth.role');
  expect(error.message).toBe('keys[0].config.auth.role: required');
  expect(new ConfigError('', 'not a config file').message).toBe('not a config file');
});

test('is recognised by its shape, of our own copy of core and of another', () => {
  class OtherCopy extends Error {
    override readonly name = 'ConfigError';
    readonly path = 'keys[0]';
  }
  expect(isConfigError(new ConfigError('', 'x'))).toBe(true);
  expect(isConfigError(new OtherCopy('x'))).toBe(true);
  expect(isConfigError(Object.assign(new Error('x'), { name: 'ConfigError' }))).toBe(false);
  expect(isConfigError({ name: 'ConfigError', path: '' })).toBe(false);
  expect(isConfigError(undefined)).toBe(false);
});
