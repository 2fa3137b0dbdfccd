import { afterAll, beforeAll, expect, test } from 'vitest';
import { compressed } from '../../src/faults/at-the-socket.js';
import { FaultCluster } from '../../src/faults/fault-cluster.js';
import { startHttpKey } from '../../src/http-kms/http-key.js';
import { keySection, type KeyUnderTest } from '../../src/key-under-test.js';
import type { ConfigSections } from '../../src/sealwax.js';
import { serviceDirectories } from '../../src/service-directory.js';
import { waitFor } from '../../src/wait-for.js';

const reloads = 50;

let key: KeyUnderTest;
let fault: FaultCluster;
beforeAll(async () => {
  const { kms } = await serviceDirectories('reload', ['kms']);
  key = await startHttpKey(kms);
  fault = await FaultCluster.start('reload', (plugin) => ({
    ...compressed,
    state: { path: plugin.stateDirectory },
    keys: [keySection(key, { name: 'prod' })],
  }));
});
afterAll(async () => {
  await fault.stop();
  await key.stop();
});

/** Each is wrong in its own way. */
const invalid: readonly ConfigSections[] = [
  { outage: { then: 'stop-everything' } },
  { keys: [] },
  { cluster: 'another' },
  { keys: [{ name: 'prod', backend: 'local', config: { path: '/nowhere/kek.json' } }] },
  { unknown: true },
];

test(`${reloads} reloads under load, every tenth invalid: no write fails, what is invalid changes nothing and is said`, async () => {
  const keys = (reload: number) => {
    const prod = keySection(key, { name: 'prod' });
    const file = { name: 'file', role: 'read', backend: 'local', config: { path: fault.plugin.keyFile } };
    return reload % 3 === 0 ? [prod, file] : [prod];
  };
  const keyId = await fault.storedKeyId(await fault.write());
  const load = fault.startLoad('reload');
  let good: ConfigSections = {};
  for (let reload = 1; reload <= reloads; reload += 1) {
    if (reload % 10 === 0) {
      const bad = invalid[reload / 10 - 1] ?? {};
      await fault.reload(bad, 'refused');
      expect((await fault.plugin.metrics()).sum('sealwax_config_last_reload_successful')).toBe(0);
      expect((await fault.plugin.client.status()).keyId).toBe(keyId);
      await fault.plugin.writeConfig({ cluster: 'e2e', unknown: undefined, ...good });
    } else {
      good = { keys: keys(reload), outage: { ...compressed.outage, graceMinutes: reload } };
      await fault.reload(good);
      await waitFor(async () => (await fault.plugin.metrics()).sum('sealwax_config_last_reload_successful') === 1, {
        what: 'the last reload to be successful',
        timeoutMs: 30_000,
      });
    }
  }
  await fault.endLoad(load);
  expect(load.failures).toEqual([]);
  const log = await fault.log();
  expect(log.split('config not reloaded').length - 1).toBeGreaterThanOrEqual(reloads / 10);
  for (const reason of ['outage.then', 'cluster', '/nowhere/kek.json', 'unknown key']) expect(log).toContain(reason);
  expect(await fault.storedKeyId(await fault.write())).toBe(keyId);
  await fault.readAll();
});
