import { createHash } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { Facts } from '../src/facts.js';
import { hashKeyId } from '../src/metrics-page.js';
import { Metrics } from '../src/metrics.js';
import { sealwax } from './command-line.js';
import { writeConfig } from './config-file.js';
import { atEndOfFile } from './end-of-file.js';
import { startPlugin, startWith, type Plugin } from './plugin.js';
import { samplesOf, sumOf } from './prometheus-text.js';
import { decryptRequest, type RpcConnection } from './rpc.js';
import { temporaryDirectory } from './temporary-directory.js';
import { until } from './until.js';
import { copyVendorBackend } from './vendor-backend.js';

const seed = new Uint8Array(32).fill(7);

async function scrape(plugin: Plugin) {
  const response = await plugin.http('/metrics');
  expect(response.status).toBe(200);
  const page = await response.text();
  const samples = samplesOf(page);
  return {
    page,
    samples,
    type: response.headers.get('content-type'),
    sum: (name: string, labels = {}) => sumOf(samples, name, labels),
  };
}

let plugin: Plugin;
let rpc: RpcConnection;
beforeAll(async () => {
  plugin = await startPlugin({ atEnd: atEndOfFile });
  rpc = await plugin.connect();
  atEndOfFile(() => {
    rpc.close();
  });
});

test('the key id is hashed as kube-apiserver hashes it: sha256: and the hash of its bytes in hexadecimal', () => {
  expect(hashKeyId('abc')).toBe('sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
});

describe('the page', () => {
  test('is Prometheus text, each metric with help and type', async () => {
    const { page, samples, type } = await scrape(plugin);
    expect(type).toMatch(/^text\/plain; version=0\.0\.4/);
    for (const { name } of samples) {
      const family = name.replace(/_(bucket|sum|count)$/, '');
      expect(page, name).toMatch(new RegExp(`^# TYPE (${name}|${family}) (counter|gauge|histogram)$`, 'm'));
      expect(page, name).toMatch(new RegExp(`^# HELP (${name}|${family}) \\S`, 'm'));
    }
  });

  test('names what is our own after us, in base units, counters with _total', async () => {
    const { page } = await scrape(plugin);
    const families = [...page.matchAll(/^# TYPE (\w+) (\w+)$/gm)].map(([, name, kind]) => ({
      name: name!,
      kind: kind!,
    }));
    const own = families.filter(({ name }) => !/^(process|nodejs)_/.test(name));
    expect(own.length).toBeGreaterThan(10);
    for (const { name, kind } of own) {
      expect(name).toMatch(/^sealwax_[a-z_]+$/);
      expect(name.endsWith('_total'), name).toBe(kind === 'counter');
      expect(name).not.toMatch(/_(ms|milliseconds|minutes|kb)(_|$)/);
    }
  });

  test('names version and Node', async () => {
    const { samples } = await scrape(plugin);
    expect(samples.find(({ name }) => name === 'sealwax_build_info')).toMatchObject({
      labels: { version: expect.stringMatching(/^\d+\.\d+\.\d+/), node: process.version },
      value: 1,
    });
  });

  test('carries the hash of the key id that Status reports, and no other', async () => {
    const { keyId } = await rpc.status();
    const hash = `sha256:${createHash('sha256').update(keyId).digest('hex')}`;
    const { page, samples } = await scrape(plugin);
    const ids = samples.filter(({ name }) => name === 'sealwax_key_id_info');
    expect(ids).toMatchObject([{ labels: { key_id_hash: hash }, value: 1 }]);
    expect(page).not.toContain(keyId);
  });
});

test('while Status reports no key id, none is shown', async () => {
  const directory = await temporaryDirectory();
  const config = await writeConfig(directory, { refusal: { afterMinutes: 0, action: 'wipe' } });
  const refusing = path.join(directory, 'refusing');
  const backend = await copyVendorBackend(directory);
  const content = parse(await readFile(config.file, 'utf8')) as object;
  const key = { name: 'vendor', backend, config: { fault: 'is refused while a file is there', file: refusing } };
  await writeFile(config.file, stringify({ ...content, keys: [key] }));
  const vendor = startWith(config);
  await vendor.untilReady();
  const connection = await vendor.connect();
  onTestFinished(() => {
    connection.close();
  });
  const shown = async () => (await scrape(vendor)).sum('sealwax_key_id_info');
  expect(await shown()).toBe(1);
  await writeFile(refusing, '');
  await until(async () => (await connection.status()).keyId === '');
  expect(await shown()).toBeUndefined();
  await rm(refusing);
  await until(async () => (await connection.status()).keyId !== '');
  expect(await shown()).toBe(1);
});

describe('what is counted', () => {
  test('RPCs by method and code, and their latency by method', async () => {
    const before = await scrape(plugin);
    const sealed = await rpc.encrypt(seed);
    await rpc.decrypt(sealed);
    await rpc.status();
    await rpc.status();
    await rpc.call('Decrypt', decryptRequest({ ...sealed, keyId: 'other' }));
    const after = await scrape(plugin);
    const grown = (name: string, labels: object) => (after.sum(name, labels) ?? 0) - (before.sum(name, labels) ?? 0);
    expect(grown('sealwax_rpc_total', { method: 'Encrypt', code: 'OK' })).toBe(1);
    expect(grown('sealwax_rpc_total', { method: 'Decrypt', code: 'OK' })).toBe(1);
    expect(grown('sealwax_rpc_total', { method: 'Decrypt', code: 'INVALID_ARGUMENT' })).toBe(1);
    expect(grown('sealwax_rpc_total', { method: 'Status', code: 'OK' })).toBe(2);
    expect(grown('sealwax_rpc_duration_seconds_count', { method: 'Decrypt' })).toBe(2);
    expect(grown('sealwax_rpc_duration_seconds_bucket', { method: 'Status', le: '+Inf' })).toBe(2);
    expect(grown('sealwax_rpc_duration_seconds_sum', { method: 'Encrypt' })).toBeGreaterThan(0);
  });

  test('RPCs cost no remote call', async () => {
    const quiet = await startPlugin({ sections: { probe: { intervalSeconds: 3600 } } });
    const connection = await quiet.connect();
    onTestFinished(() => {
      connection.close();
    });
    const before = (await scrape(quiet)).sum('sealwax_remote_calls_total');
    for (let round = 0; round < 20; round += 1) {
      await connection.status();
      await connection.decrypt(await connection.encrypt(seed));
    }
    expect((await scrape(quiet)).sum('sealwax_remote_calls_total')).toBe(before);
  });

  test('calls of the backend by key, operation and code, probes among them, and their duration', async () => {
    const probes = async () =>
      (await scrape(plugin)).sum('sealwax_remote_calls_total', { operation: 'currentKekId', code: 'ok' });
    const before = (await probes())!;
    await until(async () => (await probes())! > before);
    const { sum } = await scrape(plugin);
    for (const operation of ['open', 'currentKekId', 'wrap', 'unwrap']) {
      expect(sum('sealwax_remote_calls_total', { key: 'prod', operation, code: 'ok' })).toBeGreaterThan(0);
      expect(sum('sealwax_remote_call_duration_seconds_count', { key: 'prod', operation })).toBeGreaterThan(0);
    }
  });

  test('local keys held: one at first, one more with each rotation', async () => {
    const rotated = await startPlugin();
    const held = async () => (await scrape(rotated)).sum('sealwax_local_keys_held');
    const changes = async () => (await scrape(rotated)).sum('sealwax_key_id_changes_total');
    expect(await held()).toBe(1);
    expect(await changes()).toBe(0);
    const hashOf = async () =>
      (await scrape(rotated)).samples.find(({ name }) => name === 'sealwax_key_id_info')?.labels;
    const before = await hashOf();
    expect((await sealwax(['local', 'rotate', rotated.config.keyFile])).code).toBe(0);
    await until(async () => (await changes()) === 1);
    expect(await held()).toBe(2);
    expect(await hashOf()).not.toEqual(before);
  });

  test('the state of a key, the time in it and the time since its last good contact', async () => {
    const failing = await startPlugin();
    const { sum } = await scrape(failing);
    expect(sum('sealwax_key_state', { key: 'prod', backend: 'local', state: 'ready' })).toBe(1);
    expect(sum('sealwax_key_state', { key: 'prod' })).toBe(1);
    expect(sum('sealwax_key_last_good_contact_seconds', { key: 'prod' })).toBeLessThan(10);
    await rename(failing.config.keyFile, `${failing.config.keyFile}.away`);
    await until(async () => (await scrape(failing)).sum('sealwax_key_state', { key: 'prod', state: 'failing' }) === 1);
    const contact = (await scrape(failing)).sum('sealwax_key_last_good_contact_seconds')!;
    await until(async () => (await scrape(failing)).sum('sealwax_key_last_good_contact_seconds')! > contact);
    const later = await scrape(failing);
    expect(later.sum('sealwax_key_state', { key: 'prod' })).toBe(1);
    expect(later.sum('sealwax_key_state_seconds', { key: 'prod' })).toBeGreaterThanOrEqual(0);
    expect(later.sum('sealwax_remote_calls_total', { key: 'prod', code: 'key-not-found' })).toBeGreaterThan(0);
  });
});

test('a duration falls into every bucket whose bound it does not exceed', async () => {
  const metrics = new Metrics('1.2.3', new Facts());
  const status = metrics.rpcs.of({ method: 'Status' });
  for (const seconds of [0.0001, 0.00011, 3, 3.001]) status.record('OK', seconds);
  const samples = samplesOf((await metrics.page()).text);
  const buckets = ['0.0001', '0.00025', '1', '3', '+Inf'].map((le) =>
    sumOf(samples, 'sealwax_rpc_duration_seconds_bucket', { method: 'Status', le }),
  );
  expect(buckets).toEqual([1, 2, 2, 3, 4]);
  expect(sumOf(samples, 'sealwax_rpc_duration_seconds_count', { method: 'Status' })).toBe(4);
  expect(sumOf(samples, 'sealwax_rpc_duration_seconds_sum', { method: 'Status' })).toBeCloseTo(6.00121);
});

describe('what backends report', () => {
  test('becomes a gauge under the name of the key, and goes when it no longer holds', async () => {
    const facts = new Facts();
    const metrics = new Metrics('1.2.3', facts);
    facts.beginAnew(['prod', 'dr']);
    const at = new Date('2030-01-01T00:00:00Z');
    facts.note('prod', { kind: 'credential-expiry', at });
    facts.note('dr', { kind: 'credential-expiry', at });
    facts.note('prod', { kind: 'gauge', name: 'sessions', value: 4 });
    const before = samplesOf((await metrics.page()).text);
    expect(sumOf(before, 'sealwax_credential_expiry_timestamp_seconds', { key: 'prod' })).toBe(at.getTime() / 1000);
    expect(sumOf(before, 'sealwax_backend_gauge', { key: 'prod', name: 'sessions' })).toBe(4);
    facts.note('prod', { kind: 'credential-expiry', at: undefined });
    const after = samplesOf((await metrics.page()).text);
    expect(sumOf(after, 'sealwax_credential_expiry_timestamp_seconds', { key: 'prod' })).toBeUndefined();
    expect(sumOf(after, 'sealwax_credential_expiry_timestamp_seconds', { key: 'dr' })).toBe(at.getTime() / 1000);
  });

  test('alarms are counted', async () => {
    const metrics = new Metrics('1.2.3', new Facts());
    metrics.observer.alarm('something');
    expect(sumOf(samplesOf((await metrics.page()).text), 'sealwax_alarms_total')).toBe(1);
  });
});
