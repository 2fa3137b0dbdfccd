import { afterAll, beforeAll, expect, test } from 'vitest';
import { compressed } from '../../src/faults/at-the-socket.js';
import { FaultCluster } from '../../src/faults/fault-cluster.js';
import { startHttpKey } from '../../src/http-kms/http-key.js';
import { inflict, keySection, type KeyUnderTest } from '../../src/key-under-test.js';
import { serviceDirectories } from '../../src/service-directory.js';
import { waitFor } from '../../src/wait-for.js';

const kills = 12;

let key: KeyUnderTest;
let fault: FaultCluster;
beforeAll(async () => {
  const { kms } = await serviceDirectories('sigkill', ['kms']);
  key = await startHttpKey(kms);
  fault = await FaultCluster.start('sigkill', (plugin) => ({
    ...compressed,
    state: { path: plugin.stateDirectory },
    keys: [keySection(key, { name: 'prod' })],
  }));
});
afterAll(async () => {
  await fault.stop();
  await key.stop();
});

test(`plugin with state killed ${kills} times under load: no write fails, and what was stored opens after a cold start`, async () => {
  const load = fault.startLoad('killed');
  for (let kill = 1; kill <= kills; kill += 1) {
    const goal = load.acknowledged.size + 10;
    await waitFor(() => load.acknowledged.size >= goal, { what: 'writes between two kills', timeoutMs: 60_000 });
    if (kill % 4 === 0) await inflict(key, 'rotate');
    await fault.plugin.kill();
    await fault.plugin.start();
    await fault.plugin.untilOk();
  }
  await fault.endLoad(load);
  expect(load.failures).toEqual([]);
  await fault.coldStart();
  expect(await fault.readLoad(load)).toBe(load.acknowledged.size);
});
