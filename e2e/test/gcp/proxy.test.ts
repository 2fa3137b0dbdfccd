import { openBackend } from '@sealwax/core/conformance';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { ConnectProxy } from '../../src/connect-proxy.js';
import { GcpService } from '../../src/gcp.js';
import { testDirectory } from '../../src/test-directory.js';

const TARGET = 'kms-target@sealwax-e2e.iam.gserviceaccount.com';
const { signal } = new AbortController();

let service: GcpService;
let proxy: ConnectProxy;
beforeAll(async () => {
  service = await GcpService.start({ directory: await testDirectory('gcp-proxy') });
  proxy = await ConnectProxy.start(
    new Map([
      ['cloudkms.googleapis.com:443', service.double.kmsPort],
      ['iamcredentials.googleapis.com:443', service.double.tokenPort],
      ['oauth2.googleapis.com:443', service.double.tokenPort],
    ]),
  );
  process.env['HTTPS_PROXY'] = proxy.url;
});
afterAll(async () => {
  delete process.env['HTTPS_PROXY'];
  await proxy.stop();
  await service.stop();
});

async function roundTrip(auth: Record<string, unknown>): Promise<void> {
  const { key, caFile } = service.config;
  const opened = await openBackend({ ...service.harness, config: { key, caFile, auth } });
  const wrapped = await opened.backend.wrap(new Uint8Array(32).fill(7), signal);
  expect(Buffer.from(await opened.backend.unwrap(wrapped, signal))).toEqual(Buffer.alloc(32, 7));
  await opened.end();
}

test('without an endpoint the service is reached under its own name, through the proxy', async () => {
  await roundTrip({ method: 'credential-file', file: service.credentialFile });
  expect(new Set(proxy.asked)).toEqual(new Set(['cloudkms.googleapis.com:443']));
});

test('impersonation: another account’s token, through the proxy too; the login’s own needs no right on the key', async () => {
  const { accounts, kms } = service.double;
  const rights = kms.grants.get(service.account)!;
  accounts.serviceAccounts.set(TARGET, { email: TARGET, keys: new Map(), impersonators: new Set([service.account]) });
  kms.grants.set(TARGET, rights);
  kms.grants.delete(service.account);
  onTestFinished(() => {
    kms.grants.set(service.account, rights);
  });
  proxy.asked.length = 0;
  await roundTrip({ method: 'credential-file', file: service.credentialFile, impersonate: TARGET });
  expect(new Set(proxy.asked)).toEqual(
    new Set(['oauth2.googleapis.com:443', 'iamcredentials.googleapis.com:443', 'cloudkms.googleapis.com:443']),
  );
});

test('impersonation without the right to it fails the login, and is no refusal of the key', async () => {
  service.double.accounts.serviceAccounts.get(TARGET)?.impersonators.clear();
  const auth = { method: 'credential-file', file: service.credentialFile, impersonate: TARGET };
  await expect(roundTrip(auth)).rejects.toMatchObject({ code: 'unauthenticated' });
});

test('NO_PROXY counts', async () => {
  process.env['NO_PROXY'] = 'localhost';
  proxy.asked.length = 0;
  const opened = await openBackend(service.harness);
  await opened.backend.currentKekId(signal);
  await opened.end();
  expect(proxy.asked).toEqual([]);
  delete process.env['NO_PROXY'];
});
