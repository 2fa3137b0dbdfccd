import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { compressed } from '../faults/at-the-socket.js';
import { Sealwax, type ConfigSections } from '../sealwax.js';
import { SeedStore } from '../seed-store.js';
import { testDirectory } from '../test-directory.js';
import { waitFor } from '../wait-for.js';
import type { KmsAdmin } from './kms-admin.js';

/** What rotations are tested on: an emulator or an account. */
export interface RotatingKey {
  readonly config: unknown;
  readonly admin: KmsAdmin;
  stop(): Promise<void>;
}

const patience = { timeoutMs: 120_000, intervalMs: 500 };

/** Registers what must hold of rotations of every kind, whoever answers as KMS. */
export function describeRotation(name: string, startKey: (directory: string) => Promise<RotatingKey>): void {
  describe(`${name}: rotation`, () => {
    let root: string;
    let key: RotatingKey;
    beforeAll(async () => {
      root = await testDirectory(`${name}-rotation`);
      const directory = path.join(root, 'service');
      await mkdir(directory);
      key = await startKey(directory);
    });
    afterAll(() => key.stop());

    test('what was sealed before the alias moved twice, and the material rotated, opens after a cold start', async () => {
      const { plugin, seeds } = await startPlugin(path.join(root, 'cold'), {
        keys: [{ name: 'prod', backend: 'aws', config: key.config }],
      });
      await underAnotherKeyId(plugin, seeds, () => key.admin.moveAlias());
      await underAnotherKeyId(plugin, seeds, () => key.admin.rotate());
      await underAnotherKeyId(plugin, seeds, () => key.admin.moveAlias());
      expect(seeds.keyIds).toHaveLength(4);
      const reported = (await plugin.keys()).keys[0]?.kekId;
      expect(reported?.startsWith(`${key.admin.keyArn}#`), reported).toBe(true);
      // Without a state directory nothing is remembered: each local key is unwrapped when it is asked for.
      await plugin.stop();
      await plugin.start();
      await plugin.untilOk();
      await seeds.readAll();
    });
  });
}

/** A plugin that runs and has sealed a seed; stopped when the test is over. */
export async function startPlugin(
  directory: string,
  sections: ConfigSections,
): Promise<{ readonly plugin: Sealwax; readonly seeds: SeedStore }> {
  const plugin = await Sealwax.configure(directory);
  await plugin.writeConfig({ ...compressed, limits: { remoteCallSeconds: 10 }, ...sections });
  onTestFinished(async () => {
    await plugin.stop();
    plugin.client.close();
  });
  await plugin.start();
  await plugin.untilOk();
  const seeds = new SeedStore(plugin.client);
  await waitFor(async () => seeds.write(), { what: 'the first seed', ...patience });
  return { plugin, seeds };
}

async function underAnotherKeyId(plugin: Sealwax, seeds: SeedStore, rotate: () => Promise<void>): Promise<void> {
  const { keyId } = await plugin.client.status();
  await rotate();
  await waitFor(
    async () => {
      const sealed = await seeds.write();
      return sealed !== undefined && sealed.keyId !== keyId;
    },
    { what: 'a seed under another key id', ...patience },
  );
}
