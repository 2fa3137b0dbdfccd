import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Cluster } from '../../src/cluster.js';
import { providerName, sealwaxOnly } from '../../src/encryption-configuration.js';
import { decodeStored } from '../../src/encrypted-object.js';
import { startHttpKms, type HttpKmsHarness } from '../../src/http-kms/http-kms-harness.js';
import { installedPackages } from '../../src/packed-packages.js';
import { Sealwax } from '../../src/sealwax.js';
import { storageKey } from '../../src/stored-objects.js';
import { testDirectory } from '../../src/test-directory.js';

let harness: HttpKmsHarness;
let sealwax: Sealwax;
let cluster: Cluster;
beforeAll(async () => {
  const directory = await testDirectory('cluster');
  const { command } = await installedPackages();
  await mkdir(path.join(directory, 'service'));
  harness = await startHttpKms(path.join(directory, 'service'));
  sealwax = await Sealwax.configure(directory, { command, sections: byPackageName() });
  await sealwax.start();
  await sealwax.untilOk();
  cluster = await Cluster.prepare({ directory, encryption: sealwaxOnly(sealwax.socketPath) });
  await cluster.startApiServer();
});
afterAll(async () => {
  await cluster.stop();
  await sealwax.stop();
  sealwax.client.close();
  await harness.stop();
});

function byPackageName() {
  const { packageName, directory } = harness.backend;
  return { backendsDir: directory, keys: [{ name: 'prod', backend: packageName, config: harness.config }] };
}

test('a Secret is encrypted by a backend that is named by its package', async () => {
  await cluster.client.create('secrets', { name: 'by-package', data: { value: 'sealed' } });
  const stored = await cluster.etcd.client.get(storageKey('secrets', 'by-package'));
  expect(decodeStored(providerName, stored).keyId).toMatch(/^prod:/);
  expect(Buffer.from(stored).includes('sealed')).toBe(false);
  expect(await readFile(sealwax.logPath, 'utf8')).toContain(
    `prod (write, ${harness.backend.packageName} by ${harness.backend.packageName} 1.0.0)`,
  );
});

test('and by the same backend named by the absolute path of its module, which reads what was written before', async () => {
  const { modulePath: backend } = harness.backend;
  await sealwax.stop();
  await sealwax.writeConfig({ backendsDir: undefined, keys: [{ name: 'prod', backend, config: harness.config }] });
  await sealwax.start();
  await sealwax.untilOk();
  await cluster.restartApiServer();
  expect((await cluster.client.get('secrets', 'by-package')).data).toEqual({ value: 'sealed' });
  await cluster.client.create('secrets', { name: 'by-path', data: { value: 'sealed' } });
  expect((await cluster.client.get('secrets', 'by-path')).data).toEqual({ value: 'sealed' });
  const samples = (await sealwax.metrics()).select('sealwax_backend_info', { backend });
  expect(samples.map(({ labels }) => labels.get('package'))).toEqual([harness.backend.packageName]);
});
