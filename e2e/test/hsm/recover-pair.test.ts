import { rm } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { annotationOf } from '../../src/envelope-format-1.js';
import { compressed } from '../../src/faults/at-the-socket.js';
import { inflict, keySection, type KeyUnderTest } from '../../src/key-under-test.js';
import type { Sealed } from '../../src/kms-wire.js';
import { startVaultKey } from '../../src/openbao/vault-key.js';
import { startSoftHsm } from '../../src/pkcs11/softhsm-harness.js';
import { Sealwax } from '../../src/sealwax.js';
import { SeedStore } from '../../src/seed-store.js';
import { serviceDirectories } from '../../src/service-directory.js';
import { waitFor } from '../../src/wait-for.js';

const patience = { timeoutMs: 60_000 };

let hsm: KeyUnderTest;
let openBao: KeyUnderTest;
let plugin: Sealwax;
beforeAll(async () => {
  const directories = await serviceDirectories('pair', ['hsm', 'openbao', 'plugin']);
  [hsm, openBao] = await Promise.all([startSoftHsm(directories.hsm), startVaultKey(directories.openbao)]);
  plugin = await Sealwax.configure(directories.plugin);
  await plugin.writeConfig({
    ...compressed,
    state: { path: plugin.stateDirectory },
    keys: [keySection(hsm, { name: 'hsm' }), keySection(openBao, { name: 'openbao', role: 'recover' })],
  });
  await plugin.start();
});
afterAll(async () => {
  await plugin.stop();
  plugin.client.close();
  await hsm.stop();
  await openBao.stop();
});
afterEach(async () => {
  await hsm.harness.mend();
  await openBao.harness.mend();
});

describe.each([
  { gone: 'hsm', left: 'openbao' },
  { gone: 'openbao', left: 'hsm' },
] as const)('a cold start while $gone is gone', ({ gone, left }) => {
  test(`and the state, too: everything opens, new seeds are sealed under ${left} alone, and under both once it is back`, async () => {
    const lost = gone === 'hsm' ? hsm : openBao;
    // Of its own: what one key alone sealed needs that key until it is written again.
    const seeds = new SeedStore(plugin.client);
    const both = (await untilSealedUnder(['hsm', 'openbao'], seeds)).keyId;
    await plugin.stop();
    await rm(plugin.stateDirectory, { recursive: true });
    await inflict(lost, 'outage');
    await plugin.start();
    await plugin.untilOk();
    await seeds.readAll();
    expect((await untilSealedUnder([left], seeds)).keyId).not.toBe(both);

    await lost.harness.mend();
    expect((await untilSealedUnder(['hsm', 'openbao'], seeds)).keyId).toBe(both);
    await seeds.readAll();
  });
});

/** A seed as it is stored once the plugin seals under just these keys. */
async function untilSealedUnder(names: readonly string[], seeds: SeedStore): Promise<Sealed> {
  return waitFor(
    async () => {
      const sealed = await seeds.write();
      if (sealed === undefined) return undefined;
      const records = annotationOf(sealed).records.map(({ keyName }) => keyName);
      return records.join() === names.join() ? sealed : undefined;
    },
    { what: `a seed under ${names.join(' and ')}`, ...patience, intervalMs: 400 },
  );
}
