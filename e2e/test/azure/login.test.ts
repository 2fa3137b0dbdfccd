import { createPrivateKey, createSign, generateKeyPairSync, randomUUID } from 'node:crypto';
import { rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { isBackendError, type BackendErrorCode } from '@sealwax/core';
import { openBackend } from '@sealwax/core/conformance';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { AzureService } from '../../src/azure.js';
import { TestAuthority } from '../../src/test-certificates.js';
import { testDirectory } from '../../src/test-directory.js';
import { waitFor } from '../../src/wait-for.js';

const { signal } = new AbortController();

let directory: string;
let service: AzureService;
beforeAll(async () => {
  directory = await testDirectory('azure-login');
  service = await AzureService.start({ directory });
  // What the platform names for the identity of a machine.
  process.env['AZURE_POD_IDENTITY_AUTHORITY_HOST'] = service.double.metadataOrigin;
});
afterAll(async () => service.stop());
afterEach(async () => {
  service.double.tokenSeconds = 3_600;
  service.double.entra.outage = undefined;
  service.double.metadata.outage = undefined;
  await writeFile(service.clientSecretFile, service.clientSecret);
  await service.harness.mend();
});

const withAuth = (auth: unknown) => ({ ...service.harness, config: { ...service.config, auth } });
const identity = () => ({ tenantId: service.double.tenantId, clientId: service.clientId });
const application = () => service.double.entra.applications.get(service.clientId)!;

async function codeOf(answer: Promise<unknown>): Promise<BackendErrorCode | undefined> {
  try {
    await answer;
    return undefined;
  } catch (error) {
    if (isBackendError(error)) return error.code;
    throw error;
  }
}

async function worksWith(auth: unknown): Promise<void> {
  const opened = await openBackend(withAuth(auth));
  const wrapped = await opened.backend.wrap(new Uint8Array(32).fill(7), signal);
  expect(Buffer.from(await opened.backend.unwrap(wrapped, signal))).toEqual(Buffer.alloc(32, 7));
  expect(opened.facts.some(({ kind }) => kind === 'credential-expiry')).toBe(true);
  await opened.end();
}

describe('each way to log in', () => {
  test('client secret', async () => {
    await worksWith({ method: 'client-secret', ...identity(), clientSecretFile: service.clientSecretFile });
  });

  test('client certificate, signed by the key that never leaves the machine', async () => {
    const certificate = new TestAuthority('application').issueForRsa('application');
    application().certificates.add(certificate.cert);
    const certificateFile = path.join(directory, 'certificate.pem');
    await writeFile(certificateFile, `${certificate.key}${certificate.cert}`, { mode: 0o600 });
    await worksWith({ method: 'client-certificate', ...identity(), certificateFile });
  });

  test('workload identity: the token of a trusted issuer', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const subject = 'system:serviceaccount:kube-system:sealwax';
    application().federated.set('issuer', { issuerKey: publicKey, subject });
    const tokenFile = path.join(directory, 'token');
    await writeFile(tokenFile, serviceAccountToken(privateKey.export({ type: 'pkcs8', format: 'pem' }), subject), {
      mode: 0o600,
    });
    await worksWith({ method: 'workload-identity', ...identity(), tokenFile });
  });

  test('managed identity, assigned by the system', async () => {
    service.double.metadata.identities.add('system');
    service.double.vault.grants.set('system', new Set(['keys/read', 'keys/wrap/action', 'keys/unwrap/action']));
    await worksWith({ method: 'managed-identity' });
  });

  test('managed identity, assigned by the user', async () => {
    const clientId = randomUUID();
    service.double.metadata.identities.add(clientId);
    service.double.vault.grants.set(clientId, new Set(['keys/read', 'keys/wrap/action', 'keys/unwrap/action']));
    await worksWith({ method: 'managed-identity', clientId });
  });
});

describe('a login that fails', () => {
  test('is unauthenticated when the secret is wrong', async () => {
    await writeFile(service.clientSecretFile, 'wrong');
    expect(await codeOf(openBackend(service.harness))).toBe('unauthenticated');
  });

  test('is unauthenticated when the file is missing, and says which', async () => {
    const clientSecretFile = path.join(directory, 'missing');
    const auth = { method: 'client-secret', ...identity(), clientSecretFile };
    await expect(openBackend(withAuth(auth))).rejects.toMatchObject({
      code: 'unauthenticated',
      message: expect.stringContaining(clientSecretFile),
    });
  });

  test('is unauthenticated when the machine has no such identity', async () => {
    const auth = { method: 'managed-identity', clientId: randomUUID() };
    expect(await codeOf(openBackend(withAuth(auth)))).toBe('unauthenticated');
  });

  test.each([
    [500, 'unavailable'],
    [503, 'unavailable'],
    [429, 'throttled'],
  ] as const)('is no refusal when the authority answers %i, but %s', async (status, code) => {
    service.double.entra.outage = { status, json: { error: 'temporarily_unavailable' } };
    expect(await codeOf(openBackend(service.harness))).toBe(code);
  });

  test('is unavailable when nobody listens at the authority', async () => {
    const config = { ...service.config, authorityHost: 'https://localhost:1' };
    expect(await codeOf(openBackend({ ...service.harness, config }))).toBe('unavailable');
  });

  test('says nothing of the token endpoint’s text but the code', async () => {
    await writeFile(service.clientSecretFile, 'wrong');
    await expect(openBackend(service.harness)).rejects.toMatchObject({
      message: expect.stringMatching(/^azure: log in: rejected with (AADSTS7000215|invalid_client)$/),
    });
  });
});

describe('while it runs', () => {
  test('a token that lives for seconds is renewed, and no call notices', async () => {
    service.double.tokenSeconds = 2;
    const opened = await openBackend(service.harness);
    const logins = service.double.entra.logins;
    const wrapped = await opened.backend.wrap(new Uint8Array(32), signal);
    await waitFor(
      async () => {
        await opened.backend.unwrap(wrapped, signal);
        return service.double.entra.logins >= logins + 3;
      },
      { what: 'three more logins', timeoutMs: 30_000, intervalMs: 200 },
    );
    await opened.end();
  });

  test('an authority that is away harms nobody whose token is good', async () => {
    const opened = await openBackend(service.harness);
    service.double.entra.outage = { status: 503 };
    for (let call = 0; call < 5; call += 1) await opened.backend.currentKekId(signal);
    await opened.end();
  });

  test('a new secret counts without a restart', async () => {
    const opened = await openBackend(service.harness);
    application().secrets.clear();
    service.double.vault.revokeTokens(service.clientId);
    expect(await codeOf(opened.backend.currentKekId(signal))).toBe('unauthenticated');
    expect(await codeOf(opened.backend.currentKekId(signal))).toBe('unauthenticated');
    application().secrets.add('the next secret');
    const next = path.join(directory, 'next');
    await writeFile(next, 'the next secret\n', { mode: 0o600 });
    await rename(next, service.clientSecretFile);
    service.double.vault.acceptTokens(service.clientId);
    await opened.backend.currentKekId(signal);
    application().secrets.delete('the next secret');
    await opened.end();
  });

  test('many calls at once log in once', async () => {
    const opened = await openBackend(service.harness);
    service.double.vault.revokeTokens(service.clientId);
    await codeOf(opened.backend.currentKekId(signal));
    service.double.vault.acceptTokens(service.clientId);
    const logins = service.double.entra.logins;
    await Promise.all(Array.from({ length: 20 }, async () => opened.backend.currentKekId(signal)));
    expect(service.double.entra.logins).toBe(logins + 1);
    await opened.end();
  });
});

function serviceAccountToken(key: string | Buffer, subject: string): string {
  const now = Math.floor(Date.now() / 1_000);
  const claims = { iss: 'https://issuer', sub: subject, aud: 'api://AzureADTokenExchange', iat: now, exp: now + 600 };
  const unsigned = [{ alg: 'RS256', typ: 'JWT' }, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
  return `${unsigned}.${createSign('sha256').update(unsigned).sign(createPrivateKey(key), 'base64url')}`;
}
