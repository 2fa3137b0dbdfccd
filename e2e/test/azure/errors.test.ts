import type { BackendError, WrappedKey } from '@sealwax/core';
import { failureOf as anyFailureOf, openBackend, type OpenedBackend } from '@sealwax/core/conformance';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { AzureService } from '../../src/azure.js';
import { testDirectory } from '../../src/test-directory.js';

const LOCAL_KEY = new Uint8Array(32).fill(7);
const { signal } = new AbortController();

let service: AzureService;
let opened: OpenedBackend;
let wrapped: WrappedKey;
beforeAll(async () => {
  service = await AzureService.start({ directory: await testDirectory('azure-errors') });
});
afterAll(async () => service.stop());
beforeEach(async () => {
  opened = await openBackend(service.harness);
  wrapped = await opened.backend.wrap(LOCAL_KEY, signal);
});
afterEach(async () => {
  service.double.vault.outage = undefined;
  await service.harness.mend();
  await opened.end();
});

const unwrap = async () => opened.backend.unwrap(wrapped, signal);
const wrap = async () => opened.backend.wrap(LOCAL_KEY, signal);
const readVersion = async () => opened.backend.currentKekId(signal);

async function failureOf(answer: Promise<unknown>): Promise<BackendError> {
  const error = await anyFailureOf(answer);
  expect(error.message).toMatch(/^azure: (wrap|unwrap|read the current version|log in)[^\n]*$/);
  return error;
}

/** An answer of the service in place of every other. */
function answers(status: number, code: string, innerCode?: string): void {
  const innererror = innerCode === undefined ? {} : { innererror: { code: innerCode } };
  service.double.vault.outage = { status, json: { error: { code, message: 'x', ...innererror } } };
}

describe('the table of errors', () => {
  test.each([
    [403, 'Forbidden', 'ForbiddenByRbac', 'permission-denied'],
    [403, 'Forbidden', 'ForbiddenByPolicy', 'permission-denied'],
    [403, 'Forbidden', undefined, 'permission-denied'],
    [403, 'Forbidden', 'KeyDisabled', 'key-disabled'],
    [403, 'Forbidden', 'KeyNotYetValid', 'key-disabled'],
    [403, 'Forbidden', 'KeyExpired', 'key-disabled'],
    [403, 'Forbidden', 'ForbiddenByFirewall', 'unavailable'],
    [403, 'Forbidden', 'ForbiddenByConnection', 'unavailable'],
    [404, 'KeyNotFound', undefined, 'key-not-found'],
    [409, 'Conflict', 'ObjectIsDeletedButRecoverable', 'key-not-found'],
    [409, 'Conflict', 'ObjectIsBeingDeleted', 'key-not-found'],
    [400, 'BadParameter', undefined, 'invalid-ciphertext'],
    [405, 'MethodNotAllowed', undefined, 'internal'],
    [408, 'Timeout', undefined, 'unavailable'],
    [429, 'Throttled', undefined, 'throttled'],
    [500, 'InternalServerError', undefined, 'unavailable'],
    [503, 'ServiceUnavailable', undefined, 'unavailable'],
  ] as const)('%i %s %s is %s', async (status, code, innerCode, expected) => {
    answers(status, code, innerCode);
    expect((await failureOf(unwrap())).code).toBe(expected);
  });

  test('a refused parameter of a call without a ciphertext is a defect of ours', async () => {
    answers(400, 'BadParameter');
    expect((await failureOf(readVersion())).code).toBe('internal');
  });

  test('an answer that is no JSON, a page of some proxy for instance, is judged by its status', async () => {
    service.double.vault.outage = { status: 502, headers: { 'content-type': 'text/html' } };
    expect((await failureOf(unwrap())).code).toBe('unavailable');
  });

  test('Retry-After comes along', async () => {
    service.double.vault.quota = { requests: 0, windowMs: 4_000 };
    expect((await failureOf(unwrap())).retryAfterMs).toBe(4_000);
  });

  test('nothing is repeated: core decides when', async () => {
    const before = service.double.vault.requests.length;
    service.double.vault.quota = { requests: 0, windowMs: 4_000 };
    await failureOf(unwrap());
    expect(service.double.vault.requests.length - before).toBe(1);
  });
});

describe('a version', () => {
  const current = () => service.double.store.find(service.key, '');

  test('that has expired does not wrap, and unwraps all the same', async () => {
    current().expires = Math.floor(Date.now() / 1_000) - 60;
    const failure = await failureOf(wrap());
    expect(failure.code).toBe('key-disabled');
    expect(failure.message).toContain('expired');
    expect(Buffer.from(await unwrap())).toEqual(Buffer.from(LOCAL_KEY));
    current().expires = undefined;
  });

  test('that is not yet valid does not wrap, and unwraps all the same', async () => {
    current().notBefore = Math.floor(Date.now() / 1_000) + 600;
    expect((await failureOf(wrap())).code).toBe('key-disabled');
    expect(Buffer.from(await unwrap())).toEqual(Buffer.from(LOCAL_KEY));
    current().notBefore = undefined;
  });

  test('that is disabled is refused by the service at each wrap: nothing is wrapped locally', async () => {
    // The right to see that it is disabled is taken from nobody: the wrap itself has to fail.
    const { vault } = service.double;
    const before = vault.requests.length;
    await wrap();
    expect(vault.requests.slice(before).map((line) => line.replace(/[0-9a-f]{32}/, '…'))).toEqual([
      'GET /keys/kms/',
      'POST /keys/kms/…/wrapkey',
    ]);
    current().enabled = false;
    expect((await failureOf(wrap())).code).toBe('key-disabled');
    expect((await failureOf(unwrap())).code).toBe('key-disabled');
  });

  test('that is older and disabled does not unwrap; the current one goes on', async () => {
    service.rotate();
    const older = service.double.store.versions(service.key).at(-2)!;
    older.enabled = false;
    expect((await failureOf(unwrap())).code).toBe('key-disabled');
    expect((await wrap()).kekId).not.toBe(wrapped.kekId);
  });

  test('of a deleted key is gone, and back when the key is recovered', async () => {
    service.double.store.delete(service.key);
    expect((await failureOf(unwrap())).code).toBe('key-not-found');
    expect((await failureOf(readVersion())).code).toBe('key-not-found');
    service.double.store.recover(service.key);
    expect(Buffer.from(await unwrap())).toEqual(Buffer.from(LOCAL_KEY));
  });
});

describe('rights', () => {
  test('without the right to read, wrap says so, and unwrap needs it not', async () => {
    service.grant('keys/wrap/action', 'keys/unwrap/action');
    const failure = await failureOf(wrap());
    expect(failure.code).toBe('permission-denied');
    expect(failure.message).toContain('read the current version');
    expect(Buffer.from(await unwrap())).toEqual(Buffer.from(LOCAL_KEY));
  });

  test.each(['keys/wrap/action', 'keys/unwrap/action'] as const)('without %s only that fails', async (missing) => {
    const rights = (['keys/read', 'keys/wrap/action', 'keys/unwrap/action'] as const).filter((one) => one !== missing);
    service.grant(...rights);
    const [failing, working] = missing === 'keys/wrap/action' ? [wrap, unwrap] : [unwrap, wrap];
    expect((await failureOf(failing())).code).toBe('permission-denied');
    await working();
  });
});

test('a certificate for another name is refused', async () => {
  const config = { ...service.config, vault: 'https://other.managedhsm.azure.net' };
  const failure = await failureOf(openBackend({ ...service.harness, config }));
  expect(failure.code).toBe('unavailable');
  expect(failure.message).toContain('ERR_TLS_CERT_ALTNAME_INVALID');
});

test('a vault that asks for a token to another domain gets none', async () => {
  const { double } = service;
  double.vault.outage = {
    status: 401,
    headers: {
      'www-authenticate': `Bearer authorization="${double.authorityOrigin}/${double.tenantId}", resource="https://example.com"`,
    },
  };
  const logins = double.entra.logins;
  const failure = await failureOf(openBackend(service.harness));
  expect(failure.code).toBe('unauthenticated');
  expect(failure.message).toContain('another domain');
  expect(double.entra.logins).toBe(logins);
});
