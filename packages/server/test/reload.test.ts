import { readFile, rename, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { sealwax } from './command-line.js';
import { startPlugin, type Plugin } from './plugin.js';
import { samplesOf, sumOf } from './prometheus-text.js';
import { until } from './until.js';

/** The config file's content, changed and put in place in one step. */
async function change(plugin: Plugin, edit: (content: Record<string, unknown>) => void): Promise<void> {
  const { file } = plugin.config;
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
    await change(plugin, (content) => {
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
    await change(plugin, edit);
    plugin.kill('SIGHUP');
    await untilRefused(plugin);
    const line = plugin.log.find(({ msg }) => String(msg).startsWith('config not reloaded'));
    expect(String(line?.['reason'])).toMatch(reason);
    expect((await rpc.status()).keyId).toBe(keyId);
    expect(await rpc.decrypt(await rpc.encrypt(new Uint8Array(32)))).toHaveLength(32);
    rpc.close();
  });
});
