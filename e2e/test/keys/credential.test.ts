import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { compressed } from '../../src/faults/at-the-socket.js';
import { FaultCluster } from '../../src/faults/fault-cluster.js';
import { startHttpKey } from '../../src/http-kms/http-key.js';
import type { HttpKmsHarness } from '../../src/http-kms/http-kms-harness.js';
import type { KeyUnderTest } from '../../src/key-under-test.js';
import { serviceDirectories } from '../../src/service-directory.js';
import { waitFor } from '../../src/wait-for.js';

const patience = { timeoutMs: 60_000 };

let key: KeyUnderTest & { readonly harness: HttpKmsHarness };
let fault: FaultCluster;
/** The plugin's own copy of the client secret. */
let secretFile: string;
beforeAll(async () => {
  const { kms, plugin } = await serviceDirectories('credential', ['kms', 'plugin']);
  key = await startHttpKey(kms);
  secretFile = path.join(plugin, 'client-secret');
  await writeFile(secretFile, await readFile(key.harness.kms.clientSecretFile), { mode: 0o600 });
  fault = await FaultCluster.start('credential', () => ({
    ...compressed,
    // Whoever takes a bad login for a refusal destroys the local keys.
    refusal: { ...compressed.refusal, action: 'wipe' },
    keys: [
      {
        name: 'prod',
        backend: key.backend,
        config: { ...Object(key.harness.config), clientSecretFile: secretFile },
      },
    ],
  }));
});
afterAll(async () => {
  await fault.stop();
  await key.stop();
});

test('credential expired: writes and reads go on; renewed in its file: the plugin logs in without a restart', async () => {
  await fault.write();
  const { pid } = fault.plugin;
  const load = fault.startLoad('credential');
  const secretOfTomorrow = 'the secret of tomorrow\n';
  await writeFile(key.harness.kms.clientSecretFile, secretOfTomorrow);
  // Tokens are forgotten, and the old secret is good for none.
  await key.harness.kms.restart();
  await untilKeySays(/^unauthenticated/);
  const probes = await remoteCalls();
  await waitFor(async () => (await remoteCalls()) > probes + 4, { what: 'several more probes', ...patience });
  expect((await fault.cluster.client.probe('/readyz')).status).toBe(200);
  expect((await fault.plugin.metrics()).sum('sealwax_local_keys_held')).toBeGreaterThan(0);
  await fault.write();

  await writeFile(secretFile, secretOfTomorrow);
  await waitFor(async () => (await fault.plugin.keys()).keys[0]?.state === 'ready', {
    what: 'the key to be ready',
    ...patience,
  });
  await fault.endLoad(load);
  expect(load.failures).toEqual([]);
  await fault.readAll();
  expect(fault.plugin.pid).toBe(pid);
});

async function untilKeySays(error: RegExp): Promise<void> {
  await waitFor(async () => error.test((await fault.plugin.keys()).keys[0]?.error ?? ''), {
    what: `the key to say ${String(error)}`,
    ...patience,
  });
}

async function remoteCalls(): Promise<number> {
  return (await fault.plugin.metrics()).sum('sealwax_remote_calls_total');
}
