import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { makeKeyFile, writeConfig } from './config-file.js';
import { startWith, type Plugin } from './plugin.js';
import { temporaryDirectory } from './temporary-directory.js';
import { until } from './until.js';
import { copyVendorBackend } from './vendor-backend.js';

const seed = new Uint8Array(32).map((_, index) => index);

/** A plugin whose first key is a good one and whose second, `bad`, has a backend with `fault`. */
async function startWithFault(fault: string): Promise<{ readonly plugin: Plugin; readonly module: string }> {
  const directory = await temporaryDirectory();
  const module = await copyVendorBackend(directory);
  const config = await writeConfig(directory, {
    limits: { remoteCallSeconds: 0.4 },
    publish: { startSeconds: 1, completeSeconds: 1 },
  });
  const text = parse(await readFile(config.file, 'utf8')) as { keys: object[] };
  text.keys.push({ name: 'bad', role: 'recover', backend: module, config: { fault } });
  await writeFile(config.file, stringify(text));
  await makeKeyFile(config);
  return { plugin: startWith(config), module };
}

/** Encrypts and decrypts, as proof that the plugin serves. */
async function expectServes(plugin: Plugin): Promise<void> {
  const rpc = await plugin.connect();
  onTestFinished(() => {
    rpc.close();
  });
  expect(await rpc.decrypt(await rpc.encrypt(seed))).toEqual(Buffer.from(seed));
  expect(plugin.isRunning).toBe(true);
}

/** What `/readyz?verbose` says of the key `bad`. */
async function stateOfBad(plugin: Plugin): Promise<string> {
  const text = await (await plugin.http('/readyz?verbose')).text();
  return text.split('\n').find((line) => line.includes('key bad')) ?? '';
}

describe('the plugin serves from its other key, and says which key and package fails and why, when a backend', () => {
  test.each([
    ['hangs in open', /unavailable: \S+: open: no answer within 400 ms/],
    ['opens to nothing', /internal: /],
    ['hangs in currentKekId', /unavailable: \S+: currentKekId: no answer within 400 ms/],
    ['hangs in wrap', /unavailable: \S+: wrap: no answer within 400 ms/],
    ['hangs in unwrap', /unavailable: \S+: unwrap: no answer within 400 ms/],
    ['throws a string', /internal: \S+: wrap: the backend threw a string instead of a BackendError/],
    ['rejects with undefined', /internal: \S+: wrap: the backend threw a undefined/],
    ['wraps to nothing', /internal: \S+: wrap returned no KEK id/],
    ['wraps to 1 MB', /internal: \S+: wrap returned no ciphertext of 1 to 2048 bytes/],
    ['unwraps to a short buffer', /internal: \S+: unwrap returned /],
    ['unwraps to a string', /internal: \S+: unwrap returned no bytes/],
    ['unwraps to another key', /internal: \S+: unwrap returned other bytes than were wrapped/],
    ['has a KEK id of 4 kB', /internal: \S+: currentKekId returned no KEK id/],
    ['has a KEK id with control characters', /internal: \S+: currentKekId returned no KEK id/],
    ['rejects long after its signal', /unavailable: \S+: wrap: no answer within 400 ms/],
  ])('%s', async (fault, reason) => {
    const { plugin, module } = await startWithFault(fault);
    await plugin.untilReady();
    await until(async () => reason.test(await stateOfBad(plugin)));
    expect(await stateOfBad(plugin)).toContain(module);
    await expectServes(plugin);
    expect(plugin.log.some(({ key, msg }) => key === 'bad' && String(msg).includes('failing'))).toBe(true);
    expect(await plugin.stop()).toEqual({ code: 0, signal: null });
  });
});

test('a buffer that a backend overwrites after it handed it out is no part of what the plugin keeps', async () => {
  const { plugin } = await startWithFault('overwrites what it unwrapped');
  await plugin.untilReady();
  await until(async () => (await stateOfBad(plugin)).startsWith('[+]'));
  await expectServes(plugin);
});

describe('the plugin goes on and names key and package when a backend', () => {
  test('lets a rejection go unhandled', async () => {
    const { plugin, module } = await startWithFault('lets a rejection go');
    await plugin.untilReady();
    const line = await until(() => plugin.log.find(({ msg }) => String(msg).includes('unhandled rejection')));
    expect(line).toMatchObject({ level: 'error', key: 'bad', package: module });
    await expectServes(plugin);
  });

  test('lets a string go unhandled, as far as that tells', async () => {
    const { plugin } = await startWithFault('lets a string go');
    await plugin.untilReady();
    const line = await until(() => plugin.log.find(({ msg }) => String(msg).includes('unhandled rejection')));
    expect(line).toMatchObject({ level: 'error', error: 'let go' });
    await expectServes(plugin);
  });
});

describe('the plugin stops in order when a backend', () => {
  test.each(['hangs in close', 'throws in close'])('%s', async (fault) => {
    const { plugin } = await startWithFault(fault);
    await plugin.untilReady();
    await until(async () => (await stateOfBad(plugin)).startsWith('[+]'));
    expect(await plugin.stop()).toEqual({ code: 0, signal: null });
  });
});

test('the log and the metrics say which package and version serves each key', async () => {
  const { plugin, module } = await startWithFault('none');
  await plugin.untilReady();
  expect(plugin.log.find(({ msg }) => msg === 'listening')).toMatchObject({
    keys: ['prod (write, local by @sealwax/backend-local 0.1.0)', `bad (recover, ${module} by ${module})`],
  });
  const text = await (await plugin.http('/metrics')).text();
  expect(text).toContain(
    'sealwax_backend_info{key="prod",backend="local",package="@sealwax/backend-local",version="0.1.0"} 1',
  );
});
