import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AzureService } from '../../src/azure.js';
import { FaultCluster } from '../../src/faults/fault-cluster.js';
import { GcpService } from '../../src/gcp.js';
import { testDirectory } from '../../src/test-directory.js';
import { waitFor } from '../../src/wait-for.js';

let azure: AzureService;
let gcp: GcpService;
let cluster: FaultCluster;
let keyId: string;

const azureKey = (role: string) => ({ name: 'azure', backend: 'azure', role, config: azure.config });
const gcpKey = (role: string) => ({ name: 'gcp', backend: 'gcp', role, config: gcp.config });

async function configure(...keys: readonly unknown[]): Promise<void> {
  await cluster.plugin.writeConfig({ keys });
  cluster.plugin.hangUp();
}

beforeAll(async () => {
  const directory = path.join(await testDirectory('clouds'), 'services');
  await mkdir(directory);
  azure = await AzureService.start({ directory });
  gcp = await GcpService.start({ directory });
  cluster = await FaultCluster.start('clouds-cluster', () => ({
    keys: [azureKey('write')],
    publish: { quietSeconds: 0.2, latestSeconds: 1, startSeconds: 2, completeSeconds: 2 },
  }));
});
afterAll(async () => {
  await cluster.stop();
  await azure.stop();
  await gcp.stop();
});

test('Azure: a rotation under write load reaches the data, and no write fails', async () => {
  keyId = await cluster.storedKeyId(await cluster.write());
  const load = cluster.startLoad('azure');
  azure.rotate();
  keyId = await cluster.untilStoredUnderAnother(keyId);
  await cluster.endLoad(load);
  expect(load.failures).toEqual([]);
  await cluster.readAll();
});

test('migration from Azure to Google: under write load, by a reload, and no write fails', async () => {
  const load = cluster.startLoad('migration');
  await configure(gcpKey('write'), azureKey('read'));
  keyId = await cluster.untilStoredUnderAnother(keyId);
  expect(keyId).toMatch(/^gcp:/);
  await cluster.endLoad(load);
  expect(load.failures).toEqual([]);
  await cluster.readAll();
});

test('after a rewrite nothing needs Azure: with its vault gone and the plugin started anew, all is readable', async () => {
  await cluster.cluster.client.rewriteAll('secrets');
  await cluster.cluster.client.rewriteAll('configmaps');
  await azure.proxy.set({ kind: 'refuse' });
  await cluster.plugin.stop();
  await cluster.plugin.start();
  await cluster.plugin.untilOk();
  await cluster.cluster.restartApiServer();
  await cluster.readAll();
  await azure.proxy.set({ kind: 'pass' });
});

test('Google: a rotation under write load reaches the data, and no write fails', async () => {
  keyId = await cluster.storedKeyId(await cluster.write());
  const load = cluster.startLoad('gcp');
  gcp.rotate();
  keyId = await cluster.untilStoredUnderAnother(keyId);
  await cluster.endLoad(load);
  expect(load.failures).toEqual([]);
  await cluster.readAll();
});

test('a recover pair: with Google gone, the cluster starts from what Azure wrapped', async () => {
  await configure(gcpKey('write'), azureKey('recover'));
  keyId = await cluster.untilStoredUnderAnother(keyId);
  await cluster.cluster.client.rewriteAll('secrets');
  await cluster.cluster.client.rewriteAll('configmaps');
  await gcp.proxy.set({ kind: 'refuse' });
  await cluster.plugin.stop();
  await cluster.plugin.start();
  await waitFor(async () => (await cluster.plugin.client.status()).keyId !== '', {
    what: 'a key id from Azure alone',
    timeoutMs: 60_000,
  });
  await cluster.cluster.stopApiServer();
  await cluster.cluster.startApiServer('answering');
  await waitFor(async () => cluster.readAll().then(() => true), {
    what: 'every Secret',
    timeoutMs: 90_000,
    intervalMs: 500,
  });
  await gcp.proxy.set({ kind: 'pass' });
});
