import { openBackend } from '@sealwax/core/conformance';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AzureService } from '../../src/azure.js';
import { ConnectProxy } from '../../src/connect-proxy.js';
import { testDirectory } from '../../src/test-directory.js';

const { signal } = new AbortController();

let service: AzureService;
let proxy: ConnectProxy;
beforeAll(async () => {
  service = await AzureService.start({ directory: await testDirectory('azure-proxy') });
  const authority = new URL(service.double.authorityOrigin).host;
  proxy = await ConnectProxy.start(
    new Map([
      ['sealwax-e2e.vault.azure.net:443', service.double.vaultPort],
      [authority, Number(authority.split(':')[1])],
    ]),
  );
  process.env['HTTPS_PROXY'] = proxy.url;
});
afterAll(async () => {
  delete process.env['HTTPS_PROXY'];
  await proxy.stop();
  await service.stop();
});

async function roundTrip(config: Record<string, unknown>): Promise<void> {
  const opened = await openBackend({ ...service.harness, config });
  const wrapped = await opened.backend.wrap(new Uint8Array(32).fill(7), signal);
  expect(Buffer.from(await opened.backend.unwrap(wrapped, signal))).toEqual(Buffer.alloc(32, 7));
  await opened.end();
}

test('without an endpoint the vault is reached under its own name; it and the authority through the proxy', async () => {
  const { endpoint, ...config } = service.config;
  expect(endpoint).toBeDefined();
  await roundTrip(config);
  const authority = new URL(service.double.authorityOrigin).host;
  expect(new Set(proxy.asked)).toEqual(new Set(['sealwax-e2e.vault.azure.net:443', authority]));
});

test('the metadata address is never asked through the proxy, HTTP_PROXY or not', async () => {
  process.env['HTTP_PROXY'] = proxy.url;
  process.env['AZURE_POD_IDENTITY_AUTHORITY_HOST'] = service.double.metadataOrigin;
  service.double.metadata.identities.add('system');
  service.double.vault.grants.set('system', new Set(['keys/read', 'keys/wrap/action', 'keys/unwrap/action']));
  const { endpoint, ...config } = service.config;
  expect(endpoint).toBeDefined();
  await roundTrip({ ...config, auth: { method: 'managed-identity' } });
  expect(proxy.asked.filter((target) => target.includes(new URL(service.double.metadataOrigin).host))).toEqual([]);
  delete process.env['HTTP_PROXY'];
});

test('NO_PROXY counts', async () => {
  process.env['NO_PROXY'] = 'localhost,127.0.0.1';
  proxy.asked.length = 0;
  await roundTrip(service.config);
  expect(proxy.asked).toEqual([]);
  delete process.env['NO_PROXY'];
});
