import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { compressed } from '../../src/faults/at-the-socket.js';
import { FaultCluster } from '../../src/faults/fault-cluster.js';
import { startHttpKey } from '../../src/http-kms/http-key.js';
import type { HttpKmsHarness } from '../../src/http-kms/http-kms-harness.js';
import { keySection, type KeyUnderTest } from '../../src/key-under-test.js';
import { serviceDirectories } from '../../src/service-directory.js';

/** Of each direction: question and answer together take the 5 s. */
const slow = { kind: 'delay', ms: 2_500 } as const;

let key: KeyUnderTest & { readonly harness: HttpKmsHarness };
let fault: FaultCluster;
beforeAll(async () => {
  const { kms } = await serviceDirectories('slow', ['kms']);
  key = await startHttpKey(kms);
  fault = await FaultCluster.start('slow', () => ({
    ...compressed,
    // A first question takes three round trips more: the connection and its TLS handshake.
    limits: { remoteCallSeconds: 30 },
    keys: [keySection(key, { name: 'prod' })],
  }));
});
afterAll(async () => {
  await fault.stop();
  await key.stop();
});
afterEach(async () => key.harness.mend());

test('KMS 5 s slow: with the local key in memory nobody notices', async () => {
  await fault.write();
  const load = fault.startLoad('slow');
  await key.harness.proxy.set(slow);
  const until = Date.now() + 12_000;
  while (Date.now() < until) {
    const startedAt = performance.now();
    expect((await fault.plugin.client.status()).healthz).toBe('ok');
    expect(performance.now() - startedAt).toBeLessThan(1_000);
    await delay(250);
  }
  expect((await fault.cluster.client.probe('/readyz')).status).toBe(200);
  await fault.endLoad(load);
  expect(load.failures).toEqual([]);
  await fault.readAll();
});

test('KMS 5 s slow at a cold start: an unwrap that outlives the API server’s patience is not thrown away', async () => {
  await fault.coldStart(() => key.harness.proxy.set(slow), 'answering');
  await fault.untilReadyz(200);
  await fault.write();
  await fault.readAll();
});
