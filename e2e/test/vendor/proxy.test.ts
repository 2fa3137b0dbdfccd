import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest';
import { ConnectProxy } from '../../src/connect-proxy.js';
import { HttpKms } from '../../src/http-kms/http-kms.js';
import { startHttpKms, type HttpKmsHarness } from '../../src/http-kms/http-kms-harness.js';
import { installedPackages } from '../../src/packed-packages.js';
import { Sealwax } from '../../src/sealwax.js';
import { testDirectory } from '../../src/test-directory.js';
import { waitFor } from '../../src/wait-for.js';

let directory: string;
let harness: HttpKmsHarness;
let proxy: ConnectProxy;
let count = 0;
beforeEach(async () => {
  count += 1;
  directory = await testDirectory(`proxy-${count}`);
  await mkdir(path.join(directory, 'service'));
  harness = await startHttpKms(path.join(directory, 'service'));
  const { port } = harness.kms;
  proxy = await ConnectProxy.start(new Map([[`${HttpKms.host}:${port}`, port]]));
});
afterEach(async () => {
  await proxy.stop();
  await harness.stop();
});

/** A plugin whose KMS has the name `host`. */
async function startPlugin(
  host: string,
  options: { environment: Record<string, string>; change?: object },
): Promise<Sealwax> {
  const { command } = await installedPackages();
  const { packageName, directory: backendsDir } = harness.backend;
  const config = { ...(harness.config as object), address: `https://${host}:${harness.kms.port}`, ...options.change };
  const sealwax = await Sealwax.configure(directory, {
    command,
    environment: options.environment,
    sections: { backendsDir, keys: [{ name: 'prod', backend: packageName, config }] },
  });
  onTestFinished(async () => {
    await sealwax.stop();
    sealwax.client.close();
  });
  await sealwax.start();
  return sealwax;
}

test('HTTPS_PROXY: a KMS whose name only the proxy knows is reached through it, with a private CA', async () => {
  const sealwax = await startPlugin(HttpKms.host, { environment: { HTTPS_PROXY: proxy.url } });
  await sealwax.untilOk();
  expect(proxy.asked.length).toBeGreaterThan(0);
  expect(new Set(proxy.asked)).toEqual(new Set([`${HttpKms.host}:${harness.kms.port}`]));
});

test('NO_PROXY: what it names is reached directly', async () => {
  const sealwax = await startPlugin('localhost', { environment: { HTTPS_PROXY: proxy.url, NO_PROXY: 'localhost' } });
  await sealwax.untilOk();
  expect(proxy.asked).toEqual([]);
});

test('without the private CA the KMS is not trusted, and nothing is sent to it', async () => {
  const sealwax = await startPlugin('localhost', { environment: {}, change: { caFile: undefined } });
  const failing = await waitFor(
    async () => (await readFile(sealwax.logPath, 'utf8')).split('\n').find((line) => line.includes('key failing')),
    { what: 'the key to fail', timeoutMs: 30_000 },
  );
  expect((await sealwax.client.status()).healthz).toMatch(/certificate/);
  expect(proxy.asked).toEqual([]);
  // The bundle's stack traces point at sources: those of core, and through its own map the vendor's.
  expect(failing).toMatch(/core\/src\/[a-z-]+\.ts:\d+:\d+/);
  expect(failing).toMatch(/src\/backend\/ask\.ts:\d+:\d+/);
});
