import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { Faults } from '@sealwax/core/conformance';
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { KeyUnderTest, StartKey } from '../key-under-test.js';
import { Sealwax, type ConfigSections } from '../sealwax.js';
import { SeedStore } from '../seed-store.js';
import { testDirectory } from '../test-directory.js';
import { waitFor } from '../wait-for.js';

/** Minutes are seconds here; the rules are those of production. */
export const compressed = {
  probe: { intervalSeconds: 0.5, oldVersionsSeconds: 1 },
  publish: { quietSeconds: 0.2, latestSeconds: 1, startSeconds: 2, completeSeconds: 2 },
  limits: { remoteCallSeconds: 2 },
  outage: { graceMinutes: 0.03, then: 'stay-ok' },
  refusal: { afterMinutes: 0.03, action: 'report' },
} as const;

const patience = { timeoutMs: 60_000 };

/** What a plugin's Status says, in the terms of its policy. */
function shapeOf({ healthz, keyId }: { readonly healthz: string; readonly keyId: string }): string {
  if (healthz === 'ok') return 'ok';
  return keyId === '' ? 'stop-writes' : 'unready';
}

/** Waits until the local keys whose KEK is lost were wrapped anew. */
async function untilRescued(plugin: Sealwax): Promise<void> {
  await waitFor(async () => (await plugin.metrics()).sum('sealwax_local_keys_rescued') > 0, {
    what: 'the rescue',
    ...patience,
  });
}

/**
 * Registers the faults that are proven at the socket: this file's tests play the API server, whatever the backend.
 *
 * A fault that the service cannot do is not registered; its reason is printed.
 */
export function describeFaultsAtTheSocket(name: string, startKey: StartKey): void {
  describe(`${name}: faults at the socket`, () => {
    let root: string;
    let key: KeyUnderTest;
    let count = 0;

    beforeAll(async () => {
      root = await testDirectory(`${name}-socket`);
      const directory = path.join(root, 'service');
      await mkdir(directory);
      key = await startKey(directory);
    });
    afterAll(async () => {
      await key.stop();
    });
    afterEach(async () => {
      await key.harness.mend();
    });

    /** A plugin on the key, with the state directory of its own; stopped when the test is over. */
    async function configurePlugin(sections: ConfigSections): Promise<Sealwax> {
      count += 1;
      const plugin = await Sealwax.configure(path.join(root, `${count}`));
      await plugin.writeConfig({
        ...compressed,
        state: { path: plugin.stateDirectory },
        ...sections,
      });
      onTestFinished(async () => {
        await plugin.stop();
        plugin.client.close();
      });
      return plugin;
    }

    /** A plugin that runs and has sealed a seed. */
    async function startReadyPlugin(
      sections: ConfigSections = {},
    ): Promise<{ readonly plugin: Sealwax; readonly seeds: SeedStore }> {
      return ready(await configurePlugin({ keys: [keySection()], ...sections }));
    }

    async function ready(plugin: Sealwax): Promise<{ readonly plugin: Sealwax; readonly seeds: SeedStore }> {
      await plugin.start();
      await plugin.untilOk();
      const seeds = new SeedStore(plugin.client);
      await waitFor(async () => seeds.write(), { what: 'the first seed', ...patience });
      return { plugin, seeds };
    }

    /** A plugin that is not yet started, with a key file beside the key under test. */
    async function configureWithLocalKey(
      keys: (local: ConfigSections) => readonly ConfigSections[],
    ): Promise<{ readonly plugin: Sealwax; readonly local: ConfigSections }> {
      const plugin = await configurePlugin({});
      await plugin.init();
      const local = { name: 'file', backend: 'local', config: { path: plugin.keyFile } };
      await plugin.writeConfig({ keys: keys(local) });
      return { plugin, local };
    }

    const keySection = (change: ConfigSections = {}) => ({
      name: 'prod',
      backend: key.backend,
      config: key.harness.config,
      ...change,
    });

    /** Registers a test of this fault, if the service knows it. */
    function onFault(fault: keyof Faults, rule: string, run: (breakIt: () => Promise<void>) => Promise<void>): void {
      test(`${fault}: ${rule}`, async (context) => {
        const cause = key.harness.faults[fault];
        if (typeof cause === 'string') {
          console.log(`${name}: ${fault} is not to be had: ${cause}`);
          context.skip(cause);
          return;
        }
        await run(cause);
      });
    }

    async function untilShape(plugin: Sealwax, shape: string): Promise<void> {
      await waitFor(async () => shapeOf(await plugin.client.status()) === shape, {
        what: `Status to be ${shape}`,
        ...patience,
      });
    }

    async function untilFailing(plugin: Sealwax, code: RegExp): Promise<void> {
      await waitFor(async () => code.test((await plugin.keys()).keys[0]?.error ?? ''), {
        what: `the key to fail with ${String(code)}`,
        ...patience,
      });
    }

    /** A plugin that was never hit: the same key id as before, everything readable. */
    async function expectRecovered(plugin: Sealwax, seeds: SeedStore): Promise<void> {
      await key.harness.mend();
      await untilShape(plugin, 'ok');
      await waitFor(async () => (await plugin.keys()).keys.every(({ state }) => state === 'ready'), {
        what: 'every key to be ready',
        ...patience,
      });
      await seeds.readAll();
      expect(await seeds.write()).toBeDefined();
      await seeds.readAll();
    }

    for (const then of ['stay-ok', 'unready', 'stop-writes'] as const) {
      onFault('outage', `Status is ${then} after the grace, reads go on, and all heals by itself`, async (breakIt) => {
        const { plugin, seeds } = await startReadyPlugin({ outage: { ...compressed.outage, then } });
        await breakIt();
        await untilFailing(plugin, /^unavailable/);
        await untilShape(plugin, then === 'stay-ok' ? 'ok' : then);
        await seeds.readAll();
        await expectRecovered(plugin, seeds);
        expect(seeds.keyIds).toHaveLength(1);
      });
    }

    onFault('stall', 'a KMS that never answers holds up nothing but itself', async (breakIt) => {
      const { plugin, seeds } = await startReadyPlugin();
      await breakIt();
      await untilFailing(plugin, /^unavailable/);
      const startedAt = performance.now();
      expect((await plugin.client.status()).healthz).toBe('ok');
      await seeds.readAll();
      expect(performance.now() - startedAt).toBeLessThan(1_000);
      await expectRecovered(plugin, seeds);
    });

    onFault('throttle', 'is an outage, and no storm', async (breakIt) => {
      const { plugin, seeds } = await startReadyPlugin();
      await breakIt();
      await untilFailing(plugin, /^throttled/);
      expect((await plugin.client.status()).healthz).toBe('ok');
      await expectRecovered(plugin, seeds);
    });

    onFault('expireCredential', 'is never taken for a refusal: nothing is wiped', async (breakIt) => {
      const { plugin, seeds } = await startReadyPlugin({ refusal: { ...compressed.refusal, action: 'wipe' } });
      await breakIt();
      await untilFailing(plugin, /^unauthenticated/);
      const probes = (await plugin.metrics()).sum('sealwax_remote_calls_total');
      await waitFor(async () => (await plugin.metrics()).sum('sealwax_remote_calls_total') > probes + 4, {
        what: 'several more probes',
        ...patience,
      });
      await seeds.readAll();
      await expectRecovered(plugin, seeds);
    });

    for (const fault of ['disable', 'deny'] as const) {
      onFault(fault, 'report: writes stop after a while, reads go on, and all heals by itself', async (breakIt) => {
        const { plugin, seeds } = await startReadyPlugin();
        await breakIt();
        await untilShape(plugin, 'stop-writes');
        await seeds.readAll();
        await expectRecovered(plugin, seeds);
        expect(seeds.keyIds).toHaveLength(1);
      });

      onFault(fault, 'wipe: local keys go, and come back once the KMS lets them', async (breakIt) => {
        const { plugin, seeds } = await startReadyPlugin({ refusal: { ...compressed.refusal, action: 'wipe' } });
        await breakIt();
        await waitFor(async () => (await plugin.metrics()).sum('sealwax_local_keys_held') === 0, {
          what: 'the local keys to go',
          ...patience,
        });
        await expect(seeds.readAll()).rejects.toThrow();
        await key.harness.mend();
        await untilShape(plugin, 'ok');
        // A failed unwrap is answered again without a call for up to 30 s.
        await waitFor(async () => seeds.readAll().then(() => true), { what: 'old seeds to open', ...patience });
      });
    }

    onFault(
      'rotate',
      'a new key id under load, with each Encrypt under the id of the Status before it',
      async (breakIt) => {
        const { plugin, seeds } = await startReadyPlugin();
        const before = (await plugin.client.status()).keyId;
        await breakIt();
        await waitFor(
          async () => {
            expect(await seeds.write()).toBeDefined();
            return (await plugin.client.status()).keyId !== before;
          },
          { what: 'a new key id', ...patience, intervalMs: 400 },
        );
        expect(await seeds.write()).toBeDefined();
        await seeds.readAll();
        expect(seeds.keyIds).toHaveLength(2);
      },
    );

    onFault(
      'outage',
      'at a cold start: the socket is open and says why, and what is remembered opens after it',
      async (breakIt) => {
        const { plugin, seeds } = await startReadyPlugin();
        await plugin.stop();
        await breakIt();
        await plugin.start();
        const status = await plugin.client.status();
        expect(shapeOf(status)).toBe('stop-writes');
        expect(status.healthz).toContain('"prod"');
        await expect(plugin.client.encrypt(new Uint8Array(32))).rejects.toThrow();
        await key.harness.mend();
        await untilShape(plugin, 'ok');
        await waitFor(async () => (await plugin.metrics()).sum('sealwax_local_keys_held') >= 2, {
          what: 'the remembered local key',
          ...patience,
        });
        await seeds.readAll();
      },
    );

    test('SIGKILL in a loop while seeds are written: what was stored opens', async () => {
      const { plugin, seeds } = await startReadyPlugin();
      for (let round = 0; round < 5; round += 1) {
        const writing = Promise.allSettled(Array.from({ length: 8 }, async () => seeds.write()));
        await plugin.kill();
        await writing;
        await plugin.start();
        await plugin.untilOk();
        expect(await seeds.write()).toBeDefined();
      }
      await seeds.readAll();
      expect(seeds.keyIds).toHaveLength(1);
    });

    onFault('destroyOldVersion', 'what it wrapped is rescued, and opens after a restart', async (breakIt) => {
      const { rotate } = key.harness.faults;
      if (typeof rotate === 'string') throw new Error(`a service with old versions rotates: ${rotate}`);
      const { plugin, seeds } = await startReadyPlugin();
      const before = (await plugin.client.status()).keyId;
      await rotate();
      await waitFor(async () => (await plugin.client.status()).keyId !== before, { what: 'a new key id', ...patience });
      await seeds.write();
      await breakIt();
      await untilRescued(plugin);
      expect((await plugin.keys()).alarms.join()).toContain('cannot unwrap any more');
      await plugin.stop();
      await plugin.start();
      await plugin.untilOk();
      await seeds.readAll();
    });

    onFault('replaceKek', 'is noticed: another key id, what was rescued opens after a restart', async (breakIt) => {
      const { plugin, seeds } = await startReadyPlugin();
      const before = (await plugin.client.status()).keyId;
      await breakIt();
      await waitFor(async () => (await plugin.client.status()).keyId !== before, { what: 'a new key id', ...patience });
      await waitFor(async () => seeds.write(), { what: 'a seed under the new id', ...patience });
      await seeds.readAll();
      // A loss counts after three failed probes, and the new id may be there before.
      await untilRescued(plugin);
      await plugin.stop();
      await plugin.start();
      await plugin.untilOk();
      await seeds.readAll();
    });

    onFault('deleteKey', 'never wipes: what is in memory goes on', async (breakIt) => {
      const { plugin, seeds } = await startReadyPlugin({ refusal: { ...compressed.refusal, action: 'wipe' } });
      await breakIt();
      await untilFailing(plugin, /^key-not-found/);
      await waitFor(async () => (await plugin.metrics()).sum('sealwax_key_lost') === 1, {
        what: 'the loss to be noticed',
        ...patience,
      });
      await seeds.readAll();
    });

    onFault(
      'outage',
      'beside a recover key: a cold start seals under that alone, and both once it is over',
      async (breakIt) => {
        const { plugin } = await configureWithLocalKey((local) => [
          keySection({ role: 'write' }),
          { ...local, role: 'recover' },
        ]);
        await breakIt();
        const { seeds } = await ready(plugin);
        const alone = (await plugin.client.status()).keyId;
        await key.harness.mend();
        await waitFor(async () => (await plugin.client.status()).keyId !== alone, {
          what: 'the full set',
          ...patience,
        });
        await waitFor(async () => seeds.write(), { what: 'a seed under the full set', ...patience });
        expect((await plugin.keys()).keys.map(({ carriedForSeconds }) => carriedForSeconds !== undefined)).toEqual([
          true,
          true,
        ]);
        await seeds.readAll();
      },
    );

    test('migration from a local key by reloads of the config, while seeds are written', async () => {
      const { plugin, local } = await configureWithLocalKey((file) => [{ ...file, role: 'write' }]);
      const { seeds } = await ready(plugin);
      const before = (await plugin.client.status()).keyId;
      await plugin.writeConfig({ keys: [keySection({ role: 'write' }), { ...local, role: 'read' }] });
      plugin.hangUp();
      await waitFor(
        async () => {
          await seeds.write();
          return (await plugin.client.status()).keyId !== before;
        },
        { what: 'the new writer', ...patience, intervalMs: 400 },
      );
      await waitFor(async () => seeds.write(), { what: 'a seed under the new writer', ...patience });
      await seeds.readAll();
      expect(seeds.keyIds).toHaveLength(2);
      expect(seeds.keyIds[1]).toMatch(/^prod:/);
    });
  });
}
