import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FakeClock } from '../../src/fake-clock.js';
import { compressed } from '../../src/faults/at-the-socket.js';
import { FaultCluster } from '../../src/faults/fault-cluster.js';
import { startHttpKey } from '../../src/http-kms/http-key.js';
import { inflict, keySection, type KeyUnderTest } from '../../src/key-under-test.js';
import { serviceDirectories } from '../../src/service-directory.js';
import { waitFor } from '../../src/wait-for.js';

const patience = { timeoutMs: 60_000 };
const graceMinutes = 0.25;

let clock: FakeClock;
let key: KeyUnderTest;
let fault: FaultCluster;
beforeAll(async () => {
  const directories = await serviceDirectories('clock', ['kms', 'clock']);
  key = await startHttpKey(directories.kms);
  clock = await FakeClock.make(path.join(directories.clock, 'offset'));
  fault = await FaultCluster.start(
    'clock',
    (plugin) => ({
      ...compressed,
      outage: { graceMinutes, then: 'stop-writes' },
      refusal: { afterMinutes: graceMinutes, action: 'wipe' },
      state: { path: plugin.stateDirectory },
      keys: [keySection(key, { name: 'prod' })],
    }),
    { environment: clock.environment },
  );
});
afterAll(async () => {
  await fault.stop();
  await key.stop();
});

for (const [cause, error] of [
  ['outage', /^unavailable/],
  ['disable', /^key-disabled/],
] as const) {
  test(`wall clock a day forward and back during ${cause}: no grace is over before its time, and none lasts longer`, async () => {
    const keyId = await fault.storedKeyId(await fault.write());
    const load = fault.startLoad(`clock-${cause}`);
    const brokenAt = performance.now();
    await inflict(key, cause);
    await waitFor(async () => error.test((await fault.plugin.keys()).keys[0]?.error ?? ''), {
      what: 'the key to fail',
      ...patience,
    });
    for (const offset of ['+1d', '-1d', '+0']) {
      await clock.jump(offset);
      await waitFor(async () => Math.abs((await wallClock()) - offsetMs(offset) - Date.now()) < 60_000, {
        what: 'the plugin to see the other time',
        ...patience,
      });
      const { healthz } = await fault.plugin.client.status();
      // Else the machine was too slow for the test to say anything of this moment.
      if (performance.now() - brokenAt < graceMinutes * 60_000) expect(healthz).toBe('ok');
    }
    await clock.jump('-1d');
    await waitFor(async () => (await fault.plugin.client.status()).keyId === '', {
      what: 'the grace to end',
      ...patience,
    });
    expect(performance.now() - brokenAt).toBeGreaterThan(graceMinutes * 60_000);
    await key.harness.mend();
    await fault.plugin.untilOk();
    await fault.untilReadyz(200);
    await fault.endLoad(load);
    expect(load.failures).toEqual([]);
    await clock.jump('+0');
    expect(await fault.storedKeyId(await fault.write())).toBe(keyId);
    await fault.readAll();
  });
}

/** What time it is for the plugin, as its newest log line says. */
async function wallClock(): Promise<number> {
  const times = [...(await readFile(fault.plugin.logPath, 'utf8')).matchAll(/"time":"([^"]+)"/g)];
  return Date.parse(times.at(-1)?.[1] ?? '');
}

function offsetMs(offset: string): number {
  return Number(offset.replace('d', '')) * 24 * 3_600_000;
}
