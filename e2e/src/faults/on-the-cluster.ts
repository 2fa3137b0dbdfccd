import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { KeyUnderTest, StartKey } from '../key-under-test.js';
import { testDirectory } from '../test-directory.js';
import { waitFor } from '../wait-for.js';
import { compressed } from './at-the-socket.js';
import { FaultCluster } from './fault-cluster.js';

/**
 * Registers what every backend proves on etcd and kube-apiserver: outage, refusal and rotation.
 *
 * A refusal is `disable`, or `deny` where the service cannot disable a key.
 */
export function describeFaultsOnTheCluster(name: string, startKey: StartKey): void {
  describe(`${name}: faults on the cluster`, () => {
    let key: KeyUnderTest;
    let fault: FaultCluster;

    beforeAll(async () => {
      const directory = path.join(await testDirectory(`${name}-service`), 'service');
      await mkdir(directory);
      key = await startKey(directory);
      fault = await FaultCluster.start(`${name}-cluster`, (plugin) => ({
        ...compressed,
        state: { path: plugin.stateDirectory },
        keys: [{ name: 'prod', backend: key.backend, config: key.harness.config }],
      }));
    });
    afterAll(async () => {
      await fault.stop();
      await key.stop();
    });
    afterEach(async () => {
      await key.harness.mend();
    });

    const cause = (...candidates: readonly (keyof KeyUnderTest['harness']['faults'])[]) => {
      const found = candidates
        .map((candidate) => key.harness.faults[candidate])
        .find((each) => typeof each !== 'string');
      if (typeof found !== 'function') throw new Error(`the service can do none of ${candidates.join(', ')}`);
      return found;
    };

    test('outage: with stay-ok writes and reads go on, and the API server stays ready', async () => {
      await fault.write();
      const load = fault.startLoad('outage');
      await cause('outage')();
      await waitFor(async () => (await fault.plugin.keys()).keys[0]?.state === 'failing', {
        what: 'the key to fail',
        timeoutMs: 60_000,
      });
      await fault.write();
      await fault.readAll();
      expect((await fault.cluster.client.probe('/readyz')).status).toBe(200);
      await key.harness.mend();
      await fault.plugin.untilOk();
      await fault.endLoad(load);
      expect(load.failures).toEqual([]);
    });

    test('refusal: the API server is not ready and says why, reads go on, and all heals by itself', async () => {
      await fault.write();
      await cause('disable', 'deny')();
      await fault.untilReadyz(500);
      await fault.readAll();
      expect((await fault.plugin.client.status()).healthz).toContain('refused');
      await key.harness.mend();
      await fault.untilReadyz(200);
      await fault.write();
      await fault.readAll();
    });

    test('rotation under write load: no write fails, and after a rewrite no object names the old key id', async () => {
      const before = await fault.storedKeyId(await fault.write());
      const load = fault.startLoad('rotation');
      await cause('rotate')();
      const after = await fault.untilStoredUnderAnother(before);
      await fault.endLoad(load);
      expect(load.failures).toEqual([]);
      await fault.cluster.client.rewriteAll('secrets');
      expect(await fault.storedKeyId('secret-1')).toBe(after);
      await fault.readAll();
    });
  });
}
