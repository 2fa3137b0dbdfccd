import type { BackendError, WrappedKey } from '@sealwax/core';
import { failureOf as anyFailureOf, openBackend, type OpenedBackend } from '@sealwax/core/conformance';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { KmsStatus } from '../../src/gcp-double/kms-status.js';
import { GcpService } from '../../src/gcp.js';
import { testDirectory } from '../../src/test-directory.js';

const LOCAL_KEY = new Uint8Array(32).fill(7);
const { signal } = new AbortController();

let service: GcpService;
let opened: OpenedBackend;
let wrapped: WrappedKey;
beforeAll(async () => {
  service = await GcpService.start({ directory: await testDirectory('gcp-errors') });
});
afterAll(async () => service.stop());
beforeEach(async () => {
  opened = await openBackend(service.harness);
  wrapped = await opened.backend.wrap(LOCAL_KEY, signal);
});
afterEach(async () => {
  service.double.kms.outage = undefined;
  await service.harness.mend();
  await opened.end();
});

const unwrap = async () => opened.backend.unwrap(wrapped, signal);
const wrap = async () => opened.backend.wrap(LOCAL_KEY, signal);
const readVersion = async () => opened.backend.currentKekId(signal);

async function failureOf(answer: Promise<unknown>): Promise<BackendError> {
  const error = await anyFailureOf(answer);
  expect(error.message).toMatch(/^gcp: (wrap|unwrap|read the current version|log in)[^\n]*$/);
  return error;
}

async function opens(): Promise<void> {
  expect(Buffer.from(await unwrap())).toEqual(Buffer.from(LOCAL_KEY));
}

describe('the table of errors', () => {
  test.each([
    ['CANCELLED', undefined, 'unavailable'],
    ['UNKNOWN', undefined, 'unavailable'],
    ['INVALID_ARGUMENT', undefined, 'invalid-ciphertext'],
    ['DEADLINE_EXCEEDED', undefined, 'unavailable'],
    ['NOT_FOUND', undefined, 'key-not-found'],
    ['ALREADY_EXISTS', undefined, 'internal'],
    ['PERMISSION_DENIED', 'IAM_PERMISSION_DENIED', 'permission-denied'],
    ['PERMISSION_DENIED', 'SERVICE_DISABLED', 'unavailable'],
    ['PERMISSION_DENIED', 'BILLING_DISABLED', 'unavailable'],
    ['PERMISSION_DENIED', 'CONSUMER_SUSPENDED', 'unavailable'],
    ['PERMISSION_DENIED', 'SECURITY_POLICY_VIOLATED', 'unavailable'],
    ['PERMISSION_DENIED', 'LOCATION_POLICY_VIOLATED', 'unavailable'],
    ['PERMISSION_DENIED', 'ACCESS_TOKEN_SCOPE_INSUFFICIENT', 'unauthenticated'],
    ['RESOURCE_EXHAUSTED', undefined, 'throttled'],
    ['FAILED_PRECONDITION', undefined, 'unavailable'],
    ['ABORTED', undefined, 'unavailable'],
    ['OUT_OF_RANGE', undefined, 'internal'],
    ['UNIMPLEMENTED', undefined, 'internal'],
    ['INTERNAL', undefined, 'unavailable'],
    ['UNAVAILABLE', undefined, 'unavailable'],
    ['DATA_LOSS', undefined, 'internal'],
    ['UNAUTHENTICATED', undefined, 'unauthenticated'],
    ['UNAUTHENTICATED', 'ACCESS_TOKEN_EXPIRED', 'unauthenticated'],
  ] as const)('%s (%s) is %s', async (status, reason, expected) => {
    service.double.kms.outage = new KmsStatus(status, 'x', reason === undefined ? {} : { reason });
    expect((await failureOf(unwrap())).code).toBe(expected);
  });

  test('an invalid argument in a call without a ciphertext is a defect of ours', async () => {
    service.double.kms.outage = new KmsStatus('INVALID_ARGUMENT', 'x');
    expect((await failureOf(readVersion())).code).toBe('internal');
  });

  test('the pause that the service asks for comes along', async () => {
    service.double.kms.quotaLeft = 0;
    expect((await failureOf(unwrap())).retryAfterMs).toBe(7_000);
  });

  test('nothing is repeated: an outage is seen at once', async () => {
    await service.proxy.set({ kind: 'refuse' });
    const startedAt = performance.now();
    // The first call may still have the connection that has just ended.
    await failureOf(unwrap());
    await failureOf(unwrap());
    expect(performance.now() - startedAt).toBeLessThan(1_500);
    await service.harness.mend();
    const before = service.double.kms.requests.length;
    service.double.kms.quotaLeft = 0;
    await failureOf(unwrap());
    expect(service.double.kms.requests.length - before).toBe(1);
  });
});

describe('the state of a version', () => {
  const current = () => service.double.store.key(service.key).primary!;

  test('disabled: key-disabled for all calls, and good again when it is enabled', async () => {
    current().state = 'DISABLED';
    for (const call of [unwrap, wrap, readVersion]) expect((await failureOf(call())).code).toBe('key-disabled');
    current().state = 'ENABLED';
    await opens();
  });

  test('scheduled for destruction: as good as gone; restored, disabled; enabled, good', async () => {
    const { name } = current();
    service.double.store.scheduleDestruction(name);
    for (const call of [unwrap, wrap, readVersion]) expect((await failureOf(call())).code).toBe('key-not-found');
    service.double.store.restore(name);
    expect((await failureOf(unwrap())).code).toBe('key-disabled');
    current().state = 'ENABLED';
    await opens();
  });

  test('destroyed: gone', async () => {
    service.rotate();
    service.double.store.destroy(wrapped.kekId);
    expect((await failureOf(unwrap())).code).toBe('key-not-found');
    await wrap();
  });

  test('no primary version: said so', async () => {
    const key = service.double.store.key(service.key);
    const { primary } = key;
    key.primary = undefined;
    const failure = await failureOf(wrap());
    expect(failure.code).toBe('key-not-found');
    expect(failure.message).toContain('no primary version');
    key.primary = primary;
  });
});

describe('a damaged line', () => {
  test.each(['plaintext', 'additional data', 'answer'] as const)('to wrap: %s', async (where) => {
    service.double.kms.damage = where;
    expect((await failureOf(wrap())).code).toBe('unavailable');
  });

  test.each(['ciphertext', 'additional data', 'answer'] as const)(
    'to unwrap: %s is an outage, and never blamed on the ciphertext',
    async (where) => {
      service.double.kms.damage = where;
      expect((await failureOf(unwrap())).code).toBe('unavailable');
      service.double.kms.damage = undefined;
      await opens();
    },
  );

  test('a service that did not verify the checksums is not believed', async () => {
    service.double.kms.forgetsChecksums = true;
    expect((await failureOf(wrap())).code).toBe('unavailable');
    service.double.kms.forgetsChecksums = false;
  });
});

describe('rights', () => {
  const all = [
    'cloudkms.cryptoKeys.get',
    'cloudkms.cryptoKeyVersions.useToEncrypt',
    'cloudkms.cryptoKeyVersions.useToDecrypt',
  ] as const;

  test.each([
    ['cloudkms.cryptoKeys.get', 'wrap'],
    ['cloudkms.cryptoKeyVersions.useToEncrypt', 'wrap'],
    ['cloudkms.cryptoKeyVersions.useToDecrypt', 'unwrap'],
  ] as const)('without %s only %s fails', async (missing, failing) => {
    service.grant(...all.filter((one) => one !== missing));
    const [bad, good] = failing === 'wrap' ? [wrap, unwrap] : [unwrap, wrap];
    expect((await failureOf(bad())).code).toBe('permission-denied');
    await good();
  });
});

test('what another program wrapped with the same key is refused: it is bound to nothing of ours', async () => {
  const { ciphertext } = service.double.store.encrypt(service.key, Buffer.from(LOCAL_KEY), Buffer.alloc(0));
  const foreign = { kekId: wrapped.kekId, ciphertext };
  expect((await failureOf(opened.backend.unwrap(foreign, signal))).code).toBe('invalid-ciphertext');
});

test('a project’s number in the config is noticed at once: the service answers with its id', async () => {
  const config = { ...service.config, key: service.key.replace('sealwax-e2e', '123456789012') };
  service.double.store.alias('projects/123456789012/', 'projects/sealwax-e2e/');
  const failure = await failureOf(openBackend({ ...service.harness, config }));
  expect(failure.message).toContain(service.key);
});

test('a certificate for another name is refused', async () => {
  const config = { ...service.config, serverName: 'cloudkms.example.com' };
  expect((await failureOf(openBackend({ ...service.harness, config }))).code).toBe('unavailable');
});
