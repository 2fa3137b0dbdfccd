import type { Backend } from '@sealwax/core';
import { failureOf } from '@sealwax/core/conformance';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { good, KmsDouble, LOCAL_KEY, metadataServer, VERSION } from './gcp-double.js';
import { openGcp } from './open-gcp.js';

const { signal } = new AbortController();
const record = { kekId: VERSION, ciphertext: LOCAL_KEY };
const PAGE = '<html><body>blocked</body></html>';
const [INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, FAILED_PRECONDITION] = [3, 5, 7, 9];

beforeEach(() => metadataServer());
afterEach(() => {
  vi.unstubAllEnvs();
});

/** Of each call on the key. */
async function codesOf(gcp: Backend): Promise<string[]> {
  const calls = [gcp.currentKekId(signal), gcp.wrap(LOCAL_KEY, signal), gcp.unwrap(record, signal)];
  return Promise.all(calls.map(async (call) => (await failureOf(call)).code));
}

test.each([400, 403, 404, 405, 409, 410, 413, 451])(
  'a page of a gateway with status %i is an outage, and neither a refusal nor a loss',
  async (httpStatus) => {
    const double = await KmsDouble.start();
    const gcp = await openGcp(double);
    for (const page of [PAGE, '']) {
      double.answer = () => ({ httpStatus, page });
      expect(await codesOf(gcp)).toEqual(['unavailable', 'unavailable', 'unavailable']);
    }
    double.answer = good;
    await gcp.unwrap(record, signal);
  },
);

test.each([
  [401, 'unauthenticated'],
  [429, 'unavailable'],
])('a page of a gateway with status %i is %s', async (httpStatus, code) => {
  const double = await KmsDouble.start();
  const gcp = await openGcp(double);
  double.answer = () => ({ httpStatus, page: PAGE });
  expect((await failureOf(gcp.unwrap(record, signal))).code).toBe(code);
});

test.each([
  [PERMISSION_DENIED, 'Permission denied.', 'permission-denied'],
  [NOT_FOUND, 'Not found.', 'key-not-found'],
  [INVALID_ARGUMENT, 'Decryption failed.', 'invalid-ciphertext'],
])('status %i of the service itself, with %j, is %s', async (status, text, code) => {
  const double = await KmsDouble.start();
  const gcp = await openGcp(double);
  double.answer = () => ({ status, text });
  expect((await failureOf(gcp.unwrap(record, signal))).code).toBe(code);
});

test.each([
  ['Timed out contacting the external key manager.', 'unavailable'],
  ['', 'unavailable'],
  [`${VERSION} is not enabled, current state is: DISABLED.`, 'key-disabled'],
  [`${VERSION} is not enabled, current state is: DESTROY_SCHEDULED.`, 'key-not-found'],
  [`${VERSION} is not enabled, current state is: DESTROYED.`, 'key-not-found'],
  [`${VERSION} is not enabled, current state is: PENDING_GENERATION.`, 'unavailable'],
])('a failed precondition is a refusal or a loss only where it names the state: %j is %s', async (text, code) => {
  const double = await KmsDouble.start();
  const gcp = await openGcp(double);
  double.answer = () => ({ status: FAILED_PRECONDITION, text });
  expect(await codesOf(gcp)).toEqual([code, code, code]);
});
