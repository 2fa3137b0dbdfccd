import { chmod, chown, mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { BUILT_IN, configJsonSchema, importBackend, loadBackend } from '../src/load-backend.js';
import { temporaryDirectory } from './temporary-directory.js';

const GOOD = `
export const backend = {
  apiVersion: 1,
  config: { '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) } },
  open: async () => { throw new Error('never opened here'); },
};
`;

let directory: string;
let configFile: string;
beforeEach(async () => {
  directory = await temporaryDirectory();
  configFile = path.join(directory, 'etc', 'config.yaml');
  await mkdir(path.dirname(configFile));
});

async function load(backend: string, { config, backendsDir }: { config?: unknown; backendsDir?: string } = {}) {
  const key = { name: 'prod', role: 'write', required: false, backend, config } as const;
  return loadBackend(key, ['keys', 2], { backendsDir, configFile });
}

/** The reasons why `backend` is refused, each behind its path. */
async function refusal(
  backend: string,
  options: { config?: unknown; backendsDir?: string } = {},
): Promise<readonly string[]> {
  const loaded = await load(backend, options);
  return 'located' in loaded ? loaded.located.map(({ error }) => error.message) : [];
}

/** Writes `source` as one ES module and returns its path. */
async function module(source: string): Promise<string> {
  const file = path.join(directory, 'backend.mjs');
  await writeFile(file, source, { mode: 0o644 });
  return file;
}

/** Installs a package below `place`, as npm would. */
async function install(
  place: string,
  name: string,
  { manifest = {}, source = GOOD }: { manifest?: object; source?: string } = {},
) {
  const folder = path.join(place, 'node_modules', name);
  await mkdir(path.join(folder, 'lib'), { recursive: true });
  const whole = { name, version: '1.2.3', type: 'module', exports: { '.': { import: './lib/main.js' } }, ...manifest };
  await writeFile(path.join(folder, 'package.json'), JSON.stringify(whole));
  await writeFile(path.join(folder, 'lib/main.js'), source);
}

describe('a backend by its short name', () => {
  test('is loaded, with its section as its own schema returned it, and tells its package', async () => {
    expect(await load('local', { config: { path: '/x' } })).toMatchObject({
      name: 'prod',
      backendName: 'local',
      module: { apiVersion: 1 },
      config: { path: '/x' },
      backendPackage: { name: '@sealwax/backend-local', version: '0.1.0' },
    });
  });

  test('that does not exist is refused, with the names that do', async () => {
    const [reason] = await refusal('something-else');
    expect(reason).toContain('keys[2].backend: ');
    for (const name of Object.keys(BUILT_IN)) expect(reason).toContain(name);
  });

  test('that is misspelt is refused, with the nearest', async () => {
    expect(await refusal('locl')).toEqual(['keys[2].backend: unknown backend; did you mean "local"?']);
  });

  test.each(['__proto__', 'constructor', 'toString'])('is not %s, which every object has', async (backend) => {
    const [reason] = await refusal(backend);
    expect(reason).toMatch(/^keys\[2\]\.backend: /);
    expect(reason).not.toMatch(/\[object|function/);
  });

  test('whose section is missing or wrong is refused with the path into it', async () => {
    expect((await refusal('local'))[0]).toMatch(/^keys\[2\]\.config\.path: /);
    expect((await refusal('local', { config: 'x' }))[0]).toMatch(/^keys\[2\]\.config: /);
  });
});

describe('a package', () => {
  const NAME = '@acme/sealwax-backend';
  const served = { backendPackage: { name: NAME, version: '1.2.3' } };

  test('is found in backendsDir', async () => {
    const backendsDir = path.join(directory, 'opt');
    await install(backendsDir, NAME);
    expect(await load(NAME, { backendsDir })).toMatchObject(served);
  });

  test('is found beside the config file, and above', async () => {
    await install(directory, NAME);
    expect(await load(NAME)).toMatchObject(served);
  });

  test('in backendsDir is preferred to one beside the config file', async () => {
    const backendsDir = path.join(directory, 'opt');
    await install(backendsDir, NAME, { manifest: { version: '2.0.0' } });
    await install(path.dirname(configFile), NAME);
    expect(await load(NAME, { backendsDir })).toMatchObject({ backendPackage: { version: '2.0.0' } });
  });

  test.each([
    ['a string as exports', { exports: './lib/main.js' }],
    ['conditions without a subpath', { exports: { types: './x.d.ts', node: { import: './lib/main.js' } } }],
    ['main instead of exports', { exports: undefined, main: 'lib/main.js' }],
  ])('with %s is imported', async (_what, manifest) => {
    await install(directory, NAME, { manifest });
    expect(await load(NAME)).toMatchObject(served);
  });

  test('without a module to import is refused', async () => {
    await install(directory, NAME, { manifest: { exports: { './other': './lib/main.js' } } });
    expect((await refusal(NAME))[0]).toMatch(/has no main module/);
  });

  test('that is not installed is named, with where it was looked for and the command that installs it', async () => {
    const [reason] = await refusal(NAME, { backendsDir: '/opt/backends' });
    expect(reason).toContain(`/opt/backends or ${path.dirname(configFile)}`);
    expect(reason).toContain(`npm install --prefix /opt/backends ${NAME}`);
  });

  test('whose own dependency is missing says so', async () => {
    await install(directory, NAME, { source: 'import "nowhere-to-be-found";' });
    expect((await refusal(NAME))[0]).toMatch(/@acme\/sealwax-backend 1\.2\.3 cannot be loaded: .*nowhere-to-be-found/);
  });

  test('that others can write to is refused', async () => {
    await install(directory, NAME);
    await chmod(path.join(directory, 'node_modules', NAME, 'lib/main.js'), 0o666);
    expect((await refusal(NAME))[0]).toMatch(/mode 0666 lets in too many; run: chmod 0644/);
  });
});

describe('a module by its absolute path', () => {
  test('is loaded', async () => {
    const file = await module(GOOD);
    expect(await load(file, { config: { a: 1 } })).toMatchObject({
      backendName: file,
      config: { a: 1 },
      backendPackage: { name: file, version: undefined },
    });
  });

  test('tells the package that it is a part of', async () => {
    await writeFile(path.join(directory, 'package.json'), '{"name":"acme","version":"7.0.0"}');
    expect(await load(await module(GOOD))).toMatchObject({ backendPackage: { name: 'acme', version: '7.0.0' } });
  });

  test('that does not exist is refused', async () => {
    expect(await refusal('/no/such.mjs')).toEqual(['keys[2].backend: /no/such.mjs: no such file or directory']);
  });

  test('that others can write to is refused', async () => {
    const file = await module(GOOD);
    await chmod(file, 0o664);
    expect((await refusal(file))[0]).toMatch(/mode 0664 lets in too many/);
  });

  test.runIf(process.getuid?.() === 0)('that belongs to another user is refused', async () => {
    const file = await module(GOOD);
    await chown(file, 65534, 65534);
    expect((await refusal(file))[0]).toMatch(/belongs to uid 65534/);
  });

  test('must not be relative', async () => {
    for (const file of ['./backend.mjs', '../backend.mjs']) {
      expect(await refusal(file)).toEqual(['keys[2].backend: a path to a backend’s module must be absolute']);
    }
  });
});

test.each([
  ['exports nothing', 'export const other = 1;', /is no backend: it has no export named "backend"/],
  [
    'exports something else',
    'export const backend = 1;',
    /backend API undefined, this server speaks 1; upgrade the package/,
  ],
  ['is for a newer API', 'export const backend = { apiVersion: 99 };', /API 99, this server speaks 1; upgrade Sealwax/],
  [
    'is for an older API',
    'export const backend = { apiVersion: 0 };',
    /API 0, this server speaks 1; upgrade the package/,
  ],
  ['cannot be opened', GOOD.replace('open:', 'opne:'), /needs a function "open"/],
  ['has no schema', GOOD.replace('~standard', 'standard'), /needs .* a Standard Schema "config"/],
  ['breaks', 'throw new Error("broken on purpose\\nsecond line");', /cannot be loaded: broken on purpose; install/],
  ['throws a string', 'throw "a string";', /cannot be loaded: a string/],
  ['is no JavaScript', 'export const = ;', /cannot be loaded: /],
  ['breaks at its schema', GOOD.replace('({ value })', '{ throw new Error("no") }'), /failed to check the config: no/],
])('a backend that %s is refused, with the module and the reason', async (_what, source, reason) => {
  const file = await module(source);
  const [text] = await refusal(file);
  expect(text).toMatch(reason);
  expect(text).toContain(file);
});

test('the JSON Schema of a section comes from its backend', async () => {
  const imported = await importBackend('local', { configFile });
  if (typeof imported === 'string') throw new Error(imported);
  expect(configJsonSchema(imported.module)).toMatchObject({ type: 'object', properties: { path: { type: 'string' } } });
});
