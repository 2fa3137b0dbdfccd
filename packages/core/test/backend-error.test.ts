import { describe, expect, test } from 'vitest';
import { BackendError, isBackendError, toBackendError, type BackendErrorCode } from '../src/backend-error.js';

const codes: readonly BackendErrorCode[] = [
  'unavailable',
  'throttled',
  'unauthenticated',
  'permission-denied',
  'key-not-found',
  'key-disabled',
  'invalid-ciphertext',
  'internal',
];

/** As another copy of core would have made it: same shape, other class. */
class OtherCopy extends Error {
  override readonly name = 'BackendError';
  readonly code: unknown;

  constructor(code: unknown, message: string) {
    super(message);
    this.code = code;
  }
}

test('carries code, message, cause and how long to wait', () => {
  const cause = new Error('the provider’s own');
  const error = new BackendError('throttled', 'vault: wrap: slow down', { cause, retryAfterMs: 250 });
  expect(error).toMatchObject({ code: 'throttled', message: 'vault: wrap: slow down', cause, retryAfterMs: 250 });
  expect(new BackendError('internal', 'x').retryAfterMs).toBeUndefined();
});

describe('is recognised by its shape', () => {
  test.each(codes)('%s, of our own copy of core and of another', (code) => {
    expect(isBackendError(new BackendError(code, 'x'))).toBe(true);
    expect(isBackendError(new OtherCopy(code, 'x'))).toBe(true);
  });

  test.each<[string, unknown]>([
    ['a code that is not on the list', new OtherCopy('ECONNREFUSED', 'x')],
    ['a code that is a number', new OtherCopy(14, 'x')],
    ['a code that every object has', new OtherCopy('constructor', 'x')],
    ['no code', Object.assign(new Error('x'), { name: 'BackendError' })],
    ['another name', Object.assign(new Error('x'), { code: 'unavailable' })],
    ['an object that is no Error', { name: 'BackendError', code: 'unavailable', message: 'x' }],
    ['a text', 'unavailable'],
    ['undefined', undefined],
    ['null', null],
  ])('%s is none', (_what, thrown) => {
    expect(isBackendError(thrown)).toBe(false);
  });
});

describe('anything thrown becomes one', () => {
  test('that which is one stays the same', () => {
    for (const error of [new BackendError('throttled', 'x'), new OtherCopy('throttled', 'x')]) {
      expect(toBackendError(error, 'vault: wrap')).toBe(error);
    }
  });

  test.each([
    ['an Error', new TypeError('hunter2')],
    ['an Error with a code of its provider', Object.assign(new Error('hunter2'), { code: 'unavailable' })],
    ['a text', 'hunter2'],
    ['a number', 42],
    ['an object', { message: 'hunter2' }],
    ['undefined', undefined],
    ['null', null],
  ])('%s: internal, without its message, and whole in the cause', (_what, thrown) => {
    const error = toBackendError(thrown, 'vault: wrap');
    expect(error).toBeInstanceOf(BackendError);
    expect(error.code).toBe('internal');
    expect(error.message).toMatch(/^vault: wrap: /);
    expect(error.message).not.toContain('hunter2');
    expect(error.message).not.toContain('42');
    expect(error.cause).toBe(thrown);
  });
});
