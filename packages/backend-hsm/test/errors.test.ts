import { expect, test } from 'vitest';
import { meaningOf, moduleWords, returnValueOf } from '../src/errors.js';

function thrown(message: string, more: object): Error {
  return Object.assign(new Error(message), more);
}

test('a return value is read from the error, and from the words that pkcs11js left untranslated', () => {
  expect(returnValueOf(thrown('CKR_DEVICE_ERROR', { code: 0x30, method: 'C_Decrypt' }))).toBe(0x30);
  expect(returnValueOf(thrown('CKR_DEVICE_ERROR:48\n    at x', {}))).toBe(0x30);
  expect(returnValueOf(thrown('no file', { code: 0 }))).toBeUndefined();
  expect(returnValueOf(thrown('no file', { code: 'ENOENT' }))).toBeUndefined();
  expect(returnValueOf('CKR_DEVICE_ERROR:48')).toBeUndefined();
});

test.each([
  [0xa0, 'unauthenticated'],
  [0xa4, 'unauthenticated'],
  [0x68, 'permission-denied'],
  [0x40, 'invalid-ciphertext'],
  [0xb1, 'throttled'],
  [0x05, 'unavailable'],
  [0x8000_0001, 'unavailable'],
])('%i means %s', (value, code) => {
  expect(meaningOf(value).code).toBe(code);
});

test('the words for the log name function and value', () => {
  expect(moduleWords(thrown('CKR_DEVICE_ERROR', { code: 0x30, method: 'C_Decrypt' }))).toBe(
    'C_Decrypt: CKR_DEVICE_ERROR (0x30)',
  );
});
