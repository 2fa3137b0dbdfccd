import { existsSync } from 'node:fs';
import { readFile, rename, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { sealwax } from './command-line.js';
import { makeKeyFile, writeConfig, type ConfigFile } from './config-file.js';
import { startPlugin, startWith, type Plugin } from './plugin.js';
import { samplesOf, sumOf } from './prometheus-text.js';
import { temporaryDirectory } from './temporary-directory.js';
import { until } from './until.js';
import { copyVendorBackend } from './vendor-backend.js';

/** The config file's content, changed and put in place in one step. */
async function change({ file }: ConfigFile, edit: (content: Record<string, unknown>) => void): Promise<void> {
  const content = parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  edit(content);
  await writeFile(`${file}.new`, stringify(content), { mode: 0o600 });
  await rename(`${file}.new`, file);
}

const samples = async (plugin: Plugin) => samplesOf(await (await plugin.http('/metrics')).text());

async function untilRefused(plugin: Plugin): Promise<void> {
  await until(async () => sumOf(await samples(plugin), 'sealwax_config_last_reload_successful') === 0);
}

describe('a config that changes while the plugin serves', () => {
  test('is taken over on SIGHUP: a second key is there, and the first goes on', async () => {
    const plugin = await startPlugin();
    const rpc = await plugin.connect();
    const sealed = await rpc.encrypt(new Uint8Array(32).fill(3));
    const keyFile = path.join(path.dirname(plugin.config.file), 'second.json');
    await sealwax(['local', 'init', keyFile]);
    await change(plugin.config, (content) => {
      content['keys'] = [
        { name: 'second', backend: 'local', role: 'write', config: { path: keyFile } },
        { name: 'prod', backend: 'local', role: 'read', config: { path: plugin.config.keyFile } },
      ];
    });
    plugin.kill('SIGHUP');
    await until(async () => (await rpc.status()).keyId.startsWith('second:'));
    expect(await rpc.decrypt(sealed)).toEqual(Buffer.alloc(32, 3));
    rpc.close();
    const roles = (await samples(plugin)).filter(({ name }) => name === 'sealwax_key_role_info');
    expect(roles.map(({ labels }) => `${labels['key']!} ${labels['role']!}`).toSorted()).toEqual([
      'prod read',
      'second write',
    ]);
  });

  test('is noticed by itself, also when a symbolic link on the way to it is what changes', async () => {
    const plugin = await startPlugin();
    const directory = path.dirname(plugin.config.file);
    const content = parse(await readFile(plugin.config.file, 'utf8')) as Record<string, unknown>;
    await writeFile(path.join(directory, 'v2.yaml'), stringify({ ...content, generation: 2 }), { mode: 0o600 });
    const rpc = await plugin.connect();
    const { keyId } = await rpc.status();
    await symlink('v2.yaml', path.join(directory, 'link'));
    await rename(path.join(directory, 'link'), plugin.config.file);
    await until(async () => (await rpc.status()).keyId !== keyId, { withinMs: 20_000 });
    rpc.close();
  });

  test.each([
    ['with a mistake', (content: Record<string, unknown>) => (content['nonsense'] = 1), /unknown key/],
    ['of another cluster', (content: Record<string, unknown>) => (content['cluster'] = 'test-9'), /never changes/],
    ['with another socket', (content: Record<string, unknown>) => (content['socket'] = { path: '/tmp/x' }), /restart/],
    [
      'whose new key cannot be opened',
      (content: Record<string, unknown>) =>
        (content['keys'] = [
          ...(content['keys'] as unknown[]),
          { name: 'new', backend: 'local', role: 'read', config: { path: '/nonexistent/file' } },
        ]),
      /keys\[1\]/,
    ],
  ])('%s is refused: nothing changes, the log and a metric say so', async (_what, edit, reason) => {
    const plugin = await startPlugin();
    const rpc = await plugin.connect();
    const { keyId } = await rpc.status();
    await change(plugin.config, edit);
    plugin.kill('SIGHUP');
    await untilRefused(plugin);
    const line = plugin.log.find(({ msg }) => String(msg).startsWith('config not reloaded'));
    expect(String(line?.['reason'])).toMatch(reason);
    expect((await rpc.status()).keyId).toBe(keyId);
    expect(await rpc.decrypt(await rpc.encrypt(new Uint8Array(32)))).toHaveLength(32);
    rpc.close();
  });
});

test('a SIGHUP while the plugin starts ends nothing, and the config is read again once it runs', async () => {
  const directory = await temporaryDirectory();
  const config = await writeConfig(directory);
  await makeKeyFile(config);
  await copyVendorBackend(directory);
  const [importing, mayGoOn] = [path.join(directory, 'importing'), path.join(directory, 'may-go-on')];
  const slow = path.join(directory, 'slow.mjs');
  await writeFile(
    slow,
    `import { existsSync, writeFileSync } from 'node:fs';
     writeFileSync('${importing}', '');
     while (!existsSync('${mayGoOn}')) await new Promise((resolve) => setTimeout(resolve, 10));
     export { backend } from './vendor.mjs';`,
    { mode: 0o644 },
  );
  const key = { name: 'slow', role: 'read', backend: slow, config: { fault: 'none' } };
  await change(config, (content) => (content['keys'] = [...(content['keys'] as object[]), key]));
  const plugin = startWith(config);
  await until(() => existsSync(importing));
  await change(config, (content) => (content['generation'] = 2));
  plugin.kill('SIGHUP');
  await writeFile(mayGoOn, '');
  await plugin.untilReady();
  await until(() => plugin.log.find(({ msg }) => msg === 'config reloaded'));
});

describe('what the backend of a key reported', () => {
  const reported = { fault: 'none', expires: '2030-01-01T00:00:00Z', gauge: 4, advice: 'Do otherwise.' };

  /** What is shown of `vendor`, in metrics and in `/keys`. */
  async function shownOf(plugin: Plugin) {
    const page = await samples(plugin);
    const { keys } = (await (await plugin.http('/keys')).json()) as { keys: { name: string; advice?: string }[] };
    return {
      expires: sumOf(page, 'sealwax_credential_expiry_timestamp_seconds', { key: 'vendor' }),
      gauge: sumOf(page, 'sealwax_backend_gauge', { key: 'vendor' }),
      advice: keys.find(({ name }) => name === 'vendor')?.advice,
    };
  }

  /** A plugin with a second key, `vendor`, and what changes that key's config. */
  async function startReporting() {
    const plugin = await startPlugin();
    const backend = await copyVendorBackend(path.dirname(plugin.config.file));
    const [prod] = (parse(await readFile(plugin.config.file, 'utf8')) as { keys: object[] }).keys;
    let reloads = 0;
    const setVendor = async (config: object | undefined, outcome: 'ok' | 'refused' = 'ok') => {
      const vendor = { name: 'vendor', role: 'read', backend, config };
      await change(plugin.config, (content) => (content['keys'] = config === undefined ? [prod] : [prod, vendor]));
      plugin.kill('SIGHUP');
      reloads += 1;
      await until(async () => (sumOf(await samples(plugin), 'sealwax_config_reloads_total', {}) ?? 0) >= reloads);
      expect(sumOf(await samples(plugin), 'sealwax_config_last_reload_successful')).toBe(outcome === 'ok' ? 1 : 0);
    };
    await setVendor(reported);
    return { plugin, setVendor };
  }
  const all = { expires: Date.parse(reported.expires) / 1000, gauge: 4, advice: 'Do otherwise.' };
  const nothing = { expires: undefined, gauge: undefined, advice: undefined };

  test('goes with the key', async () => {
    const { plugin, setVendor } = await startReporting();
    expect(await shownOf(plugin)).toEqual(all);
    await setVendor(undefined);
    expect(await shownOf(plugin)).toEqual(nothing);
  });

  test('goes when the backend is opened with another config, and not what it reports from then on', async () => {
    const { plugin, setVendor } = await startReporting();
    await setVendor({ fault: 'none', gauge: 5 });
    expect(await shownOf(plugin)).toEqual({ ...nothing, gauge: 5 });
  });

  test('stays when a config is refused, whatever was reported under that one', async () => {
    const { plugin, setVendor } = await startReporting();
    await setVendor({ fault: 'opens to nothing', gauge: 5 }, 'refused');
    expect(await shownOf(plugin)).toEqual(all);
  });
});
