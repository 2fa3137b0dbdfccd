import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { isBackendError, type BackendErrorCode } from '@sealwax/core';
import { openBackend } from '@sealwax/core/conformance';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { GcpService } from '../../src/gcp.js';
import { testDirectory } from '../../src/test-directory.js';
import { waitFor } from '../../src/wait-for.js';

const { signal } = new AbortController();
const SUBJECT_TOKEN = randomBytes(16).toString('hex');

let directory: string;
let service: GcpService;
beforeAll(async () => {
  directory = await testDirectory('gcp-login');
  service = await GcpService.start({ directory });
  process.env['GCE_METADATA_HOST'] = service.double.metadataHost;
});
afterAll(async () => service.stop());
afterEach(async () => {
  service.double.accounts.tokenSeconds = 3_600;
  service.double.accounts.outage = undefined;
  service.double.accounts.machineAccount = undefined;
  delete process.env['GOOGLE_APPLICATION_CREDENTIALS'];
  await service.writeServiceAccountKey();
  await service.harness.mend();
});

const withAuth = (auth: unknown) => ({ ...service.harness, config: { ...service.config, auth } });

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

/** The file that `gcloud iam workload-identity-pools create-cred-config` writes: cloud.google.com/iam/docs/workload-identity-federation. */
async function federationFile(): Promise<string> {
  const tokenFile = path.join(directory, 'subject-token');
  await writeFile(tokenFile, SUBJECT_TOKEN, { mode: 0o600 });
  const file = path.join(directory, 'federation.json');
  const content = {
    type: 'external_account',
    audience: '//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/kubernetes',
    subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    token_url: `${service.double.tokenOrigin}/v1/token`,
    credential_source: { file: tokenFile },
    universe_domain: 'googleapis.com',
  };
  await writeFile(file, JSON.stringify(content), { mode: 0o600 });
  return file;
}

describe('each way to log in', () => {
  test('service account key: signs its own token, and nobody is asked', async () => {
    const { accounts } = service.double;
    const before = [accounts.logins, accounts.metadataRequests];
    await worksWith({ method: 'credential-file', file: service.credentialFile });
    // No probe of the metadata address either.
    expect([accounts.logins, accounts.metadataRequests]).toEqual(before);
  });

  test('workload identity federation', async () => {
    service.double.accounts.federated.push({ subjectToken: SUBJECT_TOKEN, account: service.account });
    const before = service.double.accounts.metadataRequests;
    await worksWith({ method: 'credential-file', file: await federationFile() });
    expect(service.double.accounts.metadataRequests).toBe(before);
  });

  test('metadata server', async () => {
    service.double.accounts.machineAccount = service.account;
    await worksWith({ method: 'metadata-server' });
  });

  test('application default: the file that the environment names', async () => {
    process.env['GOOGLE_APPLICATION_CREDENTIALS'] = service.credentialFile;
    await worksWith({ method: 'application-default' });
  });

  test('application default: else the metadata server', async () => {
    service.double.accounts.machineAccount = service.account;
    await worksWith({ method: 'application-default' });
  });

  test('the environment counts for nothing where the config names a way', async () => {
    process.env['GOOGLE_APPLICATION_CREDENTIALS'] = '/nowhere';
    await worksWith({ method: 'credential-file', file: service.credentialFile });
  });
});

describe('a login that fails', () => {
  test('is unauthenticated when the key is no longer one of the account', async () => {
    service.double.accounts.serviceAccounts.get(service.account)?.keys.clear();
    expect(await codeOf(openBackend(service.harness))).toBe('unauthenticated');
  });

  test.each(['no JSON', '[]', '{"type":"service_account"}'])(
    'is unauthenticated when the file holds %s',
    async (text) => {
      await writeFile(service.credentialFile, text);
      expect(await codeOf(openBackend(service.harness))).toBe('unauthenticated');
    },
  );

  test('is unauthenticated when the subject token is not accepted', async () => {
    const { federated } = service.double.accounts;
    federated.length = 0;
    const auth = { method: 'credential-file', file: await federationFile() };
    expect(await codeOf(openBackend(withAuth(auth)))).toBe('unauthenticated');
  });

  test('is unavailable when nobody listens at the metadata address', async () => {
    process.env['GCE_METADATA_HOST'] = '127.0.0.1:1';
    expect(await codeOf(openBackend(withAuth({ method: 'metadata-server' })))).toBe('unavailable');
    process.env['GCE_METADATA_HOST'] = service.double.metadataHost;
  });

  test('is unavailable when the token service says so', async () => {
    service.double.accounts.outage = { status: 503 };
    const auth = { method: 'credential-file', file: await federationFile() };
    expect(await codeOf(openBackend(withAuth(auth)))).toBe('unavailable');
  });
});

describe('while it runs', () => {
  test('a token that lives for seconds is renewed, and no call notices', async () => {
    service.double.accounts.machineAccount = service.account;
    service.double.accounts.tokenSeconds = 2;
    const opened = await openBackend(withAuth({ method: 'metadata-server' }));
    const { metadataRequests } = service.double.accounts;
    const wrapped = await opened.backend.wrap(new Uint8Array(32), signal);
    await waitFor(
      async () => {
        await opened.backend.unwrap(wrapped, signal);
        return service.double.accounts.metadataRequests >= metadataRequests + 3;
      },
      { what: 'three more logins', timeoutMs: 30_000, intervalMs: 200 },
    );
    await opened.end();
  });

  test('a new key file counts without a restart', async () => {
    const opened = await openBackend(service.harness);
    service.double.accounts.serviceAccounts.get(service.account)?.keys.clear();
    expect(await codeOf(opened.backend.currentKekId(signal))).toBe('unauthenticated');
    await service.writeServiceAccountKey();
    await opened.backend.currentKekId(signal);
    await opened.end();
  });
});
