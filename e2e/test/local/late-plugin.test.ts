import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Cluster } from '../../src/cluster.js';
import { sealwaxOnly } from '../../src/encryption-configuration.js';
import { Sealwax } from '../../src/sealwax.js';
import { testDirectory } from '../../src/test-directory.js';
import { waitFor } from '../../src/wait-for.js';

const delayMs = 60_000;
/**
 * The API server asks for Status every 10 s while its plugin is not well, but its gRPC client dials ever more rarely the longer the
 * socket is missing: after a minute, about every half minute.
 */
const healTimeoutMs = 120_000;

let sealwax: Sealwax;
let cluster: Cluster;
beforeAll(async () => {
  const directory = await testDirectory('late');
  sealwax = await Sealwax.configure(directory);
  cluster = await Cluster.prepare({ directory, encryption: sealwaxOnly(sealwax.socketPath) });
});
afterAll(async () => {
  await cluster.stop();
  await sealwax.stop();
  sealwax.client.close();
});

test('a plugin whose key file appears only later says why it waits, and the cluster heals by itself', async () => {
  await sealwax.start();
  await cluster.startApiServer('answering');
  const early = await sealwax.client.status();
  expect(early.healthz).not.toBe('ok');
  expect(early.healthz).toContain(sealwax.keyFile);
  expect(early.keyId).toBe('');
  await expect(sealwax.client.encrypt(new Uint8Array(32))).rejects.toMatchObject({ code: status.UNAVAILABLE });
  expect(await sealwax.readyz()).toBe(503);
  expect((await cluster.client.probe('/readyz')).status).not.toBe(200);
  await sealwax.init();
  await sealwax.untilOk();
  await untilApiServerReady();
  expect(await sealwax.readyz()).toBe(200);
  await cluster.client.create('secrets', { name: 'early', data: { value: 'early' } });
  expect((await cluster.client.get('secrets', 'early')).data).toEqual({ value: 'early' });
});

test(
  'a plugin that starts a minute after the API server heals the cluster by itself',
  { timeout: 300_000 },
  async () => {
    await cluster.stopApiServer();
    await sealwax.stop();
    await cluster.startApiServer('answering');
    const startAt = Date.now() + delayMs;
    await waitFor(
      async () => {
        expect(cluster.isApiServerAlive).toBe(true);
        await expect(cluster.client.get('secrets', 'early')).rejects.toMatchObject({ status: 500 });
        return Date.now() >= startAt;
      },
      { what: 'a minute without the plugin to pass', timeoutMs: delayMs + 30_000, intervalMs: 2_000 },
    );
    await sealwax.start();
    await untilApiServerReady();
    expect((await cluster.client.get('secrets', 'early')).data).toEqual({ value: 'early' });
    await cluster.client.create('secrets', { name: 'after', data: { value: 'after' } });
    expect((await cluster.client.get('secrets', 'after')).data).toEqual({ value: 'after' });
  },
);

async function untilApiServerReady(): Promise<void> {
  await waitFor(async () => (await cluster.client.probe('/readyz')).status === 200, {
    what: 'the API server to be ready',
    timeoutMs: healTimeoutMs,
    intervalMs: 500,
  });
}
