import { status } from '@grpc/grpc-js';
import { randomBytes, randomInt } from 'node:crypto';
import { lstat } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Sealed } from '../../src/kms-wire.js';
import { startSealedCluster, type SealedCluster } from '../../src/sealed-cluster.js';
import { waitFor } from '../../src/wait-for.js';
import { WriteLoad } from '../../src/write-load.js';

const kills = 50;
/** A new key id makes the API server ask for a new seal in the midst of it all. */
const killsPerRotation = 10;

let sealed: SealedCluster;
beforeAll(async () => {
  sealed = await startSealedCluster('sigkill');
});
afterAll(async () => sealed.stop());

test(
  `what was acknowledged while the plugin was killed ${kills} times, and started again over its stale socket, is readable`,
  { timeout: 360_000 },
  async () => {
    const { cluster, sealwax } = sealed;
    const load = new WriteLoad(cluster.client, 'killed');
    const seals: { readonly seed: Uint8Array; readonly sealed: Sealed }[] = [];
    for (let kill = 1; kill <= kills; kill += 1) {
      const goals = { writes: load.acknowledged.size + 5, seals: seals.length + randomInt(1, 50) };
      const sealing = sealUntilRefused(seals);
      await waitFor(() => load.acknowledged.size >= goals.writes && seals.length >= goals.seals, {
        what: 'writes and seals between two kills',
        timeoutMs: 30_000,
        intervalMs: 5,
      });
      if (kill % killsPerRotation === 0) await sealwax.rotate();
      await sealwax.kill();
      expect(await sealing).toBe(status.UNAVAILABLE);
      expect((await lstat(sealwax.socketPath)).isSocket(), 'the stale socket').toBe(true);
      await sealwax.start();
      await sealwax.untilOk();
    }
    await load.stop();
    expect(load.failures).toEqual([]);

    await cluster.restartApiServer();
    const found = new Map((await cluster.client.list('secrets')).map(({ name, data }) => [name, data['value']]));
    for (const [name, value] of load.acknowledged) expect(found.get(name)).toBe(value);
    for (const { seed, sealed: acknowledged } of seals) {
      expect(Buffer.from(await sealwax.client.decrypt(acknowledged)).equals(seed)).toBe(true);
    }
  },
);

/** Adds each acknowledged seal to `seals`; returns the code of the first refusal. */
async function sealUntilRefused(seals: { readonly seed: Uint8Array; readonly sealed: Sealed }[]): Promise<unknown> {
  for (;;) {
    const seed = randomBytes(32);
    try {
      seals.push({ seed, sealed: await sealed.sealwax.client.encrypt(seed) });
    } catch (error) {
      return error instanceof Error && 'code' in error ? error.code : error;
    }
  }
}
