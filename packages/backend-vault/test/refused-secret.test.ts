import { BackendError } from '@sealwax/core';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { RefusedSecret } from '../src/refused-secret.js';

const refusal = new BackendError('unauthenticated', 'vault: log in: refused');
const login = { role_id: 'r', secret_id: 'wrong' };

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** How often a secret is shown within `ms` by somebody who asks every second. */
function shownWithin(refused: RefusedSecret, ms: number): number {
  let shown = 0;
  for (let passed = 0; passed < ms; passed += 1_000) {
    try {
      refused.throwAgain(login);
      shown += 1;
      refused.note(login, refusal);
    } catch (error) {
      expect(error).toBe(refusal);
    }
    vi.advanceTimersByTime(1_000);
  }
  return shown;
}

test('a refused secret is shown less often than what locks its owner out, and after 16 minutes again', () => {
  const refused = new RefusedSecret();
  expect(shownWithin(refused, 15 * 60_000)).toBe(3);
  expect(shownWithin(refused, 2 * 60_000)).toBe(1);
});

test('another secret is shown at once', () => {
  const refused = new RefusedSecret();
  refused.note(login, refusal);
  expect(() => {
    refused.throwAgain(login);
  }).toThrow(refusal);
  refused.throwAgain({ ...login, secret_id: 'new' });
});

test('a login that went well ends it', () => {
  const refused = new RefusedSecret();
  refused.note(login, refusal);
  refused.forget();
  refused.throwAgain(login);
});
