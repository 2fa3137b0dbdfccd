import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { ForeignLocalKeys } from '@sealwax/e2e/foreign-local-keys';
import { keySection } from '@sealwax/e2e/key-under-test';
import { encodeDecryptRequest } from '@sealwax/e2e/kms-wire';
import { startVaultKey, type VaultKey } from '@sealwax/e2e/openbao/vault-key';
import type { Sealwax } from '@sealwax/e2e/sealwax';
import { waitFor } from '@sealwax/e2e/wait-for';
import type { Figure } from './figure.js';
import type { LoadClient } from './load-client.js';
import { residentMb } from './process-cost.js';
import { sealwaxSubject, start } from './subject.js';

const subject = 'sealwax';
const seedLength = 32;
const seedCount = 10_000;
const inFlight = 64;
/** Sealwax's default for `limits.unwrapConcurrency`. */
const unwrapConcurrency = 16;
/** An hour's probes and polls, once a minute each, in half a minute. */
const compression = 120;
const hourSeconds = 3600;

interface DistantOptions {
  readonly client: LoadClient;
  readonly localKeyCounts: readonly number[];
  /** There and back. */
  readonly distancesMs: readonly number[];
}

/**
 * Sealwax with a KMS that is some milliseconds away: OpenBao, behind a proxy that delays and counts.
 *
 * `directory` has to be there.
 */
export async function measureDistantKms(directory: string, options: DistantOptions): Promise<Figure[]> {
  const key = await startVaultKey(path.join(directory, 'kms'));
  try {
    return [
      ...(await seedsUnderManyKeys(directory, key, options)),
      ...(await oneSlowRecord(directory, key, options)),
      ...(await idleHour(directory, key, options)),
    ];
  } finally {
    await key.stop();
  }
}

/** 10,000 seeds opened once, when no local key of them is known, and once more; and what reaches the KMS. */
async function seedsUnderManyKeys(
  directory: string,
  key: VaultKey,
  { client, localKeyCounts, distancesMs }: DistantOptions,
): Promise<Figure[]> {
  const figures: Figure[] = [];
  const once = (name: string, unit: string, value: number, target?: string): void => {
    figures.push({ name, subject, unit, values: [value], ...(target !== undefined && { target }) });
  };
  // No probe falls into what is counted.
  const probe = { intervalSeconds: hourSeconds };
  const running = await sealwaxSubject(path.join(directory, 'seeds'), {
    sections: { probe, keys: [keySection(key, { name: 'prod' })] },
  });
  const seedsFile = path.join(directory, 'seeds.json');
  for (const distanceMs of distancesMs) {
    for (const count of localKeyCounts) {
      await key.proxy.set({ kind: 'pass' });
      // A new process: it holds none of the local keys.
      const { stop } = await start(running, client);
      try {
        await sealSeeds(seedsFile, { key, plugin: running.plugin, localKeys: count });
        await key.proxy.set({ kind: 'delay', ms: distanceMs / 2 });
        const what = `10,000 seeds under ${count} local keys, KMS ${distanceMs} ms away`;
        for (const pass of ['first', 'second']) {
          const before = await counts(running.plugin, key);
          const { seconds, p99Ms, mostMs } = await client.decryptSeeds(running.socket, { seeds: seedsFile, inFlight });
          const after = await counts(running.plugin, key);
          const unwraps = after.unwraps - before.unwraps;
          once(`${what}, ${pass} pass`, 's', seconds);
          once(`${what}, ${pass} pass, p99`, 'ms', p99Ms);
          once(`${what}, ${pass} pass, longest`, 'ms', mostMs);
          once(`${what}, ${pass} pass, unwraps`, 'calls', unwraps, `${pass === 'first' ? count : 0}`);
          once(`${what}, ${pass} pass, requests at the KMS`, 'calls', after.requests - before.requests);
          // A connection takes one request at a time: with the one that is open already, as many as there are at the same time.
          const most = after.connections - before.connections + 1;
          once(`${what}, ${pass} pass, requests at a time at the most`, 'calls', most, `≤ ${unwrapConcurrency}`);
        }
        const before = await counts(running.plugin, key);
        for (const method of ['Encrypt', 'Decrypt', 'Status'] as const)
          await client.load(running.socket, { method, inFlight: 16, calls: 1_000 });
        const after = await counts(running.plugin, key);
        once(
          `1,000 Encrypt, known Decrypt and Status each, KMS ${distanceMs} ms away, ${count} local keys held, requests at the KMS`,
          'calls',
          after.requests - before.requests,
          '0',
        );
      } finally {
        await stop();
      }
    }
  }
  await key.proxy.set({ kind: 'pass' });
  running.plugin.client.close();
  return figures;
}

/** The same first pass with one local key of a thousand whose unwrap takes seconds: those who need another must not wait for it. */
async function oneSlowRecord(directory: string, key: VaultKey, { client }: DistantOptions): Promise<Figure[]> {
  const count = 1_000;
  const running = await sealwaxSubject(path.join(directory, 'slow'), {
    sections: { probe: { intervalSeconds: hourSeconds }, keys: [keySection(key, { name: 'prod' })] },
  });
  const seedsFile = path.join(directory, 'slow-seeds.json');
  const figures: Figure[] = [];
  for (const slowMs of [0, 2_000]) {
    const { stop } = await start(running, client);
    try {
      const foreign = await sealSeeds(seedsFile, { key, plugin: running.plugin, localKeys: count });
      await key.proxy.set({ kind: 'delay', ms: 2.5 });
      key.proxy.hold({ containing: Buffer.from(foreign.ciphertext(0)).toString('base64'), ms: slowMs });
      const { p99Ms, mostMs } = await client.decryptSeeds(running.socket, { seeds: seedsFile, inFlight });
      const what = `10,000 seeds under ${count} local keys, KMS 5 ms away, one unwrap takes ${slowMs / 1_000} s more`;
      figures.push({ name: `${what}, p99`, subject, unit: 'ms', values: [p99Ms] });
      figures.push({ name: `${what}, longest`, subject, unit: 'ms', values: [mostMs] });
    } finally {
      await key.proxy.set({ kind: 'pass' });
      key.proxy.hold(undefined);
      await stop();
    }
  }
  running.plugin.client.close();
  return figures;
}

/** What an idle plugin asks of its KMS in an hour of probes and Status polls, and what that does to its memory. */
async function idleHour(directory: string, key: VaultKey, { client }: DistantOptions): Promise<Figure[]> {
  const intervalSeconds = 60 / compression;
  const polls = hourSeconds / 60;
  const running = await sealwaxSubject(path.join(directory, 'idle'), {
    sections: { probe: { intervalSeconds }, keys: [keySection(key, { name: 'prod' })] },
  });
  const { pid, stop } = await start(running, client);
  try {
    const before = { requests: key.proxy.requests, megabytes: await residentMb(pid) };
    for (let poll = 0; poll < polls; poll += 1) {
      await running.plugin.client.status();
      await new Promise((resolve) => setTimeout(resolve, intervalSeconds * 1_000));
    }
    const after = { requests: key.proxy.requests, megabytes: await residentMb(pid) };
    const hour = `an hour of probes and Status polls, ${compression} times as fast`;
    return [
      { name: `${hour}: requests at the KMS`, subject, unit: 'calls', values: [after.requests - before.requests] },
      { name: `memory before ${hour}`, subject, unit: 'MB', values: [before.megabytes] },
      { name: `memory after ${hour}`, subject, unit: 'MB', values: [after.megabytes] },
    ];
  } finally {
    await stop();
    running.plugin.client.close();
  }
}

interface Counts {
  readonly unwraps: number;
  readonly requests: number;
  /** Opened so far. */
  readonly connections: number;
}

async function counts(plugin: Sealwax, key: VaultKey): Promise<Counts> {
  // A call that was answered is counted, if a moment later.
  const metrics = await waitFor(async () => plugin.metrics(), { what: '/metrics', timeoutMs: 30_000 });
  return {
    unwraps: metrics.sum('sealwax_remote_calls_total', { operation: 'unwrap' }),
    requests: key.proxy.requests,
    connections: key.proxy.connections,
  };
}

/** Distinct seeds for `LoadClient.decryptSeeds`, by turns under each of as many local keys that the plugin has never seen. */
async function sealSeeds(
  file: string,
  { key, plugin, localKeys }: { readonly key: VaultKey; readonly plugin: Sealwax; readonly localKeys: number },
): Promise<ForeignLocalKeys> {
  const { keyId } = await plugin.client.status();
  const foreign = await ForeignLocalKeys.wrap(key.harness, { count: localKeys, keyName: 'prod', keyId });
  const seeds = Array.from({ length: seedCount }, (_, index) => {
    const seed = randomBytes(seedLength);
    const request = encodeDecryptRequest(foreign.seal(index, seed), `seed-${index}`);
    return { seed: seed.toString('base64'), request: Buffer.from(request).toString('base64') };
  });
  await writeFile(file, JSON.stringify(seeds), { mode: 0o600 });
  return foreign;
}
