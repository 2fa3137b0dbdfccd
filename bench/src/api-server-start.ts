import { rm } from 'node:fs/promises';
import path from 'node:path';
import { Cluster } from '@sealwax/e2e/cluster';
import { sealwaxOnly } from '@sealwax/e2e/encryption-configuration';
import { ForeignLocalKeys } from '@sealwax/e2e/foreign-local-keys';
import { keySection } from '@sealwax/e2e/key-under-test';
import { startVaultKey, type VaultKey } from '@sealwax/e2e/openbao/vault-key';
import { Sealwax } from '@sealwax/e2e/sealwax';
import { putSeededSecret, storedSecret } from '@sealwax/e2e/seeded-secrets';
import { storageKey } from '@sealwax/e2e/stored-objects';
import { waitFor } from '@sealwax/e2e/wait-for';
import type { Figure } from './figure.js';

/** How long before the API server the plugin starts, at the most: until it holds what it remembers, if that is sooner. */
const leadMs = 10_000;

/** One state of etcd. */
interface Stock {
  readonly seeds: number;
  readonly localKeys: number;
}

/**
 * Time until `/readyz` of a real API server is good, with seeds in etcd that it opens one after another before that: without encryption, with
 * Sealwax and nothing remembered, and with Sealwax and its state directory.
 */
export async function measureApiServerStart(
  directory: string,
  { full }: { readonly full: boolean },
): Promise<Figure[]> {
  const distancesMs = full ? [5, 50] : [50];
  const stocks: readonly Stock[] = full
    ? [0, 100, 1_000, 3_000].flatMap((seeds) =>
        seeds === 0 ? [{ seeds, localKeys: 0 }] : [1, seeds].map((localKeys) => ({ seeds, localKeys })),
      )
    : [1, 1_000].map((localKeys) => ({ seeds: 1_000, localKeys }));
  const rounds = full ? 5 : 3;
  const key = await startVaultKey(path.join(directory, 'kms'));
  const figures: Figure[] = [];
  try {
    for (const [index, stock] of stocks.entries()) {
      for (const distanceMs of distancesMs) {
        const place = path.join(directory, `${index}-${distanceMs}`);
        figures.push(...(await measureStock(place, key, { stock, distanceMs, rounds })));
      }
    }
  } finally {
    await key.stop();
  }
  return figures;
}

async function measureStock(
  directory: string,
  key: VaultKey,
  { stock, distanceMs, rounds }: { readonly stock: Stock; readonly distanceMs: number; readonly rounds: number },
): Promise<Figure[]> {
  await key.proxy.set({ kind: 'pass' });
  const plain = await plainCluster(path.join(directory, 'plain'), stock);
  const plugin = await Sealwax.configure(path.join(directory, 'sealed'));
  await plugin.writeConfig({
    log: {},
    probe: {},
    publish: {},
    state: { path: plugin.stateDirectory },
    keys: [keySection(key, { name: 'prod' })],
  });
  await plugin.start();
  await plugin.untilOk();
  const sealed = await Cluster.prepare({
    directory: path.join(directory, 'sealed'),
    encryption: sealwaxOnly(plugin.socketPath),
  });
  await sealed.startApiServer();
  await sealed.stopApiServer();
  await fillSealed(sealed, key, { stock, keyId: (await plugin.client.status()).keyId });
  await key.proxy.set({ kind: 'delay', ms: distanceMs / 2 });

  const ms: Record<'plain' | 'cold' | 'remembered', number[]> = { plain: [], cold: [], remembered: [] };
  for (let round = 0; round < rounds; round += 1) {
    ms.plain.push(await timeToReady(plain));
    await plugin.stop();
    await rm(plugin.stateDirectory, { recursive: true, force: true });
    await plugin.start();
    await plugin.untilOk();
    ms.cold.push(await timeToReady(sealed));
    await waitFor(async () => (await plugin.metrics()).sum('sealwax_local_keys_remembered') >= stock.localKeys, {
      what: 'every local key to be remembered',
      timeoutMs: 60_000,
    });
    await plugin.stop();
    const startedAt = performance.now();
    await plugin.start();
    await waitFor(
      async () =>
        performance.now() - startedAt >= leadMs ||
        (await plugin.metrics()).sum('sealwax_local_keys_held') >= stock.localKeys,
      { what: 'the remembered local keys', timeoutMs: leadMs * 2 },
    );
    ms.remembered.push(await timeToReady(sealed));
  }
  await plugin.stop();
  plugin.client.close();
  await sealed.stop();
  await plain.stop();
  const name = `API server until /readyz, ${stock.seeds} seeds under ${stock.localKeys} local keys, KMS ${distanceMs} ms away`;
  const factor = (values: readonly number[]): number[] =>
    values.map((value, round) => value / (ms.plain[round] ?? Number.NaN));
  return [
    { name: `${name}: without encryption`, subject: 'sealwax', unit: 'ms', values: ms.plain },
    { name: `${name}: nothing remembered`, subject: 'sealwax', unit: 'ms', values: ms.cold },
    { name: `${name}: with the state directory`, subject: 'sealwax', unit: 'ms', values: ms.remembered },
    {
      name: `${name}: nothing remembered / without encryption`,
      subject: 'sealwax',
      unit: '×',
      values: factor(ms.cold),
      ...(stock.localKeys === 1 && { target: '≤ 1.1' }),
    },
    {
      name: `${name}: with the state directory / without encryption`,
      subject: 'sealwax',
      unit: '×',
      values: factor(ms.remembered),
      target: '≤ 1.2',
    },
  ];
}

/** The same Secrets in the clear, on an etcd of their own. */
async function plainCluster(directory: string, { seeds }: Stock): Promise<Cluster> {
  const encryption = {
    apiVersion: 'apiserver.config.k8s.io/v1',
    kind: 'EncryptionConfiguration',
    resources: [{ resources: ['secrets', 'configmaps'], providers: [{ identity: {} }] }],
  };
  const cluster = await Cluster.prepare({ directory, encryption });
  await cluster.startApiServer();
  await cluster.stopApiServer();
  await Promise.all(
    namesOf(seeds).map(async (name) => cluster.etcd.client.put(storageKey('secrets', name), storedSecret(name, name))),
  );
  return cluster;
}

/** Secrets, each under a seed of its own. */
async function fillSealed(
  cluster: Cluster,
  key: VaultKey,
  { stock, keyId }: { readonly stock: Stock; readonly keyId: string },
): Promise<void> {
  const foreign = await ForeignLocalKeys.wrap(key.harness, { count: stock.localKeys, keyName: 'prod', keyId });
  await Promise.all(
    namesOf(stock.seeds).map(async (name, index) =>
      putSeededSecret(cluster.etcd.client, { name, value: name }, (dataKey) => foreign.seal(index, dataKey)),
    ),
  );
}

function namesOf(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `seeded-${index}`);
}

async function timeToReady(cluster: Cluster): Promise<number> {
  const startedAt = performance.now();
  await cluster.startApiServer();
  const ms = performance.now() - startedAt;
  await cluster.stopApiServer();
  return ms;
}
