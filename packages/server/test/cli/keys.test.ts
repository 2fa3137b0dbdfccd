import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { sealwax } from '../command-line.js';
import { makeKeyFile, writeConfig, type ConfigFile } from '../config-file.js';
import { startPlugin } from '../plugin.js';
import { temporaryDirectory } from '../temporary-directory.js';
import { until } from '../until.js';

interface Report {
  readonly keyId: string;
  readonly keys: readonly { readonly name: string; readonly state: string; readonly kekId?: string }[];
}

test('sealwax keys shows what the running plugin knows of each key', async () => {
  const plugin = await startPlugin();
  const rpc = await plugin.connect();
  const { keyId } = await rpc.encrypt(new Uint8Array(32));
  rpc.close();
  const { code, out } = await sealwax(['keys', '--config', plugin.config.file]);
  expect(code).toBe(0);
  expect(out).toContain(`key id: ${keyId}`);
  expect(out).toMatch(/key prod \(write, local\): ready for \d+ s/);
  expect(out).toMatch(/opens new data: +yes, since \d+ s/);

  const json = await sealwax(['keys', '--config', plugin.config.file, '-o', 'json']);
  const report = JSON.parse(json.out) as Report;
  expect(report.keyId).toBe(keyId);
  expect(report.keys[0]).toMatchObject({ name: 'prod', state: 'ready', kekId: expect.stringMatching(/^local\//) });
});

test('sealwax keys exits with 1 when a key is not well, and says why', async () => {
  const plugin = await startPlugin();
  await writeFile(plugin.config.keyFile, '', { mode: 0o600 });
  await until(async () => (await (await plugin.http('/keys')).text()).includes('failing'));
  const { code, out } = await sealwax(['keys', '--config', plugin.config.file]);
  expect(code).toBe(1);
  expect(out).toContain('the file is empty');
  expect(out).toContain('degraded: key "prod" is failing');
});

test('sealwax keys tries the keys itself where no plugin runs, and says so', async () => {
  const config = await writeConfig(await temporaryDirectory());
  await makeKeyFile(config);
  const { code, out, err } = await sealwax(['keys', '--config', config.file]);
  expect(code).toBe(0);
  expect(err).toContain('no plugin answers');
  expect(out).toMatch(/key prod \(write, local by .*\): ok: wraps and unwraps with local\//);
});

test('sealwax keys does not know whether a key opens new data before the first Encrypt, and says so', async () => {
  const plugin = await startPlugin();
  const { out } = await sealwax(['keys', '--config', plugin.config.file]);
  expect(out).toMatch(/opens new data: +not known before the next Encrypt$/m);
});

test("sealwax keys does not take another cluster's plugin for its own", async () => {
  const plugin = await startPlugin();
  const other = await another(plugin.config, (content) => {
    content['cluster'] = 'test-2';
  });
  const { code, out, err } = await sealwax(['keys', '--config', other]);
  expect(code).toBe(0);
  expect(err).toBe(`the plugin at ${plugin.config.httpAddress} serves cluster test-1; checking the keys from here\n`);
  expect(out).toMatch(/key prod \(write, local by .*\): ok: wraps and unwraps with local\//);
});

/** A second config file beside the first, changed. */
async function another(config: ConfigFile, change: (content: Record<string, unknown>) => void): Promise<string> {
  const content = parse(await readFile(config.file, 'utf8')) as Record<string, unknown>;
  change(content);
  const file = path.join(path.dirname(config.file), 'other.yaml');
  await writeFile(file, stringify(content), { mode: 0o600 });
  return file;
}

test('sealwax check --against says that two nodes agree', async () => {
  const config = await writeConfig(await temporaryDirectory());
  await makeKeyFile(config);
  const other = await another(config, () => undefined);
  const { code, out } = await sealwax(['check', '--config', config.file, '--against', other]);
  expect({ code, agrees: out.includes(`${other}: agrees`) }).toEqual({ code: 0, agrees: true });
});

test('sealwax check --against names what two nodes do not agree on: a typo in a name, another KEK, another cluster', async () => {
  const config = await writeConfig(await temporaryDirectory());
  await makeKeyFile(config);
  const typo = await another(config, (content) => {
    content['keys'] = [{ name: 'porod', backend: 'local', config: { path: config.keyFile } }];
  });
  const named = await sealwax(['check', '--config', config.file, '--against', typo]);
  expect(named.code).toBe(1);
  expect(named.out).toContain('key prod: only here');
  expect(named.out).toContain('key porod: only there');

  const otherKeyFile = path.join(path.dirname(config.file), 'other.json');
  await sealwax(['local', 'init', otherKeyFile]);
  const otherKek = await another(config, (content) => {
    content['cluster'] = 'test-2';
    content['keys'] = [{ name: 'prod', backend: 'local', config: { path: otherKeyFile } }];
  });
  const { code, out } = await sealwax(['check', '--config', config.file, '--against', otherKek]);
  expect(code).toBe(1);
  expect(out).toContain('cluster: test-1 here, test-2 there');
  expect(out).toMatch(/key prod: kekId: local\/\w+ here, local\/\w+ there/);
});
