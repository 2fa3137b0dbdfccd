import { afterAll, beforeAll, expect, test } from 'vitest';
import { FaultCluster } from '../../src/faults/fault-cluster.js';
import { compressed } from '../../src/faults/at-the-socket.js';
import { startHttpKey } from '../../src/http-kms/http-key.js';
import type { HttpKmsHarness } from '../../src/http-kms/http-kms-harness.js';
import { keySection, type KeyUnderTest } from '../../src/key-under-test.js';
import { ForeignLocalKeys } from '../../src/foreign-local-keys.js';
import { putSeededSecret } from '../../src/seeded-secrets.js';
import { serviceDirectories } from '../../src/service-directory.js';
import { waitFor } from '../../src/wait-for.js';

const secrets = 60;
const stormMs = 10_000;

let key: KeyUnderTest & { readonly harness: HttpKmsHarness };
let fault: FaultCluster;
beforeAll(async () => {
  const { kms } = await serviceDirectories('throttling', ['kms']);
  key = await startHttpKey(kms);
  fault = await FaultCluster.start('throttling', () => ({ ...compressed, keys: [keySection(key, { name: 'prod' })] }));
});
afterAll(async () => {
  await fault.stop();
  await key.stop();
});

test('a storm of throttling at a cold start is answered by no storm of questions, and all heals by itself', async () => {
  await fault.write();
  const { keyId } = await fault.plugin.client.status();
  const localKeys = await ForeignLocalKeys.wrap(key.harness, { count: secrets, keyName: 'prod', keyId });
  for (let index = 0; index < secrets; index += 1) {
    const secret = { name: `seeded-${index}`, value: `value ${index}` };
    await putSeededSecret(fault.cluster.etcd.client, secret, (dataKey) => localKeys.seal(index, dataKey));
  }
  await fault.coldStart(() => key.harness.kms.trouble({ quotaPerSecond: 0 }), 'answering');
  const asked = key.harness.proxy.requests;
  const until = Date.now() + stormMs;
  await waitFor(
    async () => {
      // Clients and probes of a cluster that does not come up, all at once.
      await Promise.allSettled(Array.from({ length: 20 }, async () => fault.cluster.client.list('secrets')));
      return Date.now() >= until;
    },
    { what: 'the storm to pass', timeoutMs: stormMs + 60_000, intervalMs: 100 },
  );
  expect((await fault.cluster.client.probe('/readyz')).status).not.toBe(200);
  expect((await fault.plugin.keys()).keys[0]?.error).toMatch(/^throttled/);
  // Retry-After says 1 s: about one question a second, with some room for a slow machine.
  expect(key.harness.proxy.requests - asked).toBeLessThan((Date.now() - until + stormMs) / 1_000 + 15);

  // Enough for one after another, and not for all at once.
  await key.harness.kms.trouble({ quotaPerSecond: 20 });
  await fault.untilReadyz(200);
  await key.harness.mend();
  await fault.readAll();
  const found = new Map((await fault.cluster.client.list('secrets')).map(({ name, data }) => [name, data['value']]));
  for (let index = 0; index < secrets; index += 1) expect(found.get(`seeded-${index}`)).toBe(`value ${index}`);
  await fault.write();
});
