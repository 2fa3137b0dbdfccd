import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { BUILT_IN, configJsonSchema, importBackend, loadBackend } from '../src/load-backend.js';
import { temporaryDirectory } from './temporary-directory.js';

const LOCAL = '@sealwax/backend-local';

/** The reasons why `key` is refused, each behind its path. */
async function refusal(key: { backend: string; config?: unknown }): Promise<readonly string[]> {
  const loaded = await loadBackend({ name: 'prod', role: 'write', config: undefined, ...key } as never, ['keys', 2]);
  return 'located' in loaded ? loaded.located.map(({ error }) => error.message) : [];
}

describe('a backend by its short name', () => {
  test('is loaded, with its section as its own schema returned it', async () => {
    const key = { name: 'prod', role: 'write', backend: 'local', config: { path: '/x' } };
    expect(await loadBackend(key as never, ['keys', 0])).toMatchObject({
      name: 'prod',
      backendName: 'local',
      module: { apiVersion: 1 },
      config: { path: '/x' },
    });
  });

  test('that does not exist is refused, with the names that do', async () => {
    const [reason] = await refusal({ backend: 'something-else' });
    expect(reason).toContain('keys[2].backend: ');
    for (const name of Object.keys(BUILT_IN)) expect(reason).toContain(name);
  });

  test('that is misspelt is refused, with the nearest', async () => {
    expect(await refusal({ backend: 'locl' })).toEqual(['keys[2].backend: unknown backend; did you mean "local"?']);
  });

  test.each(['__proto__', 'constructor', 'toString'])('is not %s, which every object has', async (backend) => {
    const [reason] = await refusal({ backend });
    expect(reason).toMatch(/^keys\[2\]\.backend: /);
    expect(reason).not.toMatch(/\[object|function/);
  });

  test('whose section is missing or wrong is refused with the path into it', async () => {
    expect((await refusal({ backend: 'local' }))[0]).toMatch(/^keys\[2\]\.config\.path: /);
    expect((await refusal({ backend: 'local', config: 'x' }))[0]).toMatch(/^keys\[2\]\.config: /);
  });
});

describe('a package', () => {
  test('that is a backend is imported', async () => {
    expect(await importBackend(LOCAL)).toMatchObject({ apiVersion: 1 });
  });

  test('that is not installed is named, with the command that installs it', async () => {
    expect(await importBackend('@sealwax/backend-nosuch')).toBe(
      'package @sealwax/backend-nosuch is not installed; run: npm install @sealwax/backend-nosuch',
    );
  });

  test.each([
    ['exports nothing', 'export const other = 1;', 'has no export named "backend"'],
    ['exports something else', 'export const backend = 1;', 'has no export named "backend"'],
    ['is for another API', 'export const backend = { apiVersion: 99 };', /backend API 99, this server speaks \d+/],
    ['breaks', 'throw new Error("broken on purpose");', 'cannot be loaded: broken on purpose'],
  ])('that %s is refused with the reason', async (name, source, reason) => {
    const directory = path.join(await temporaryDirectory(), name);
    await mkdir(directory);
    const file = path.join(directory, 'index.mjs');
    await writeFile(file, source);
    const outcome = await importBackend(pathToFileURL(file).href);
    expect(outcome).toMatch(reason);
  });
});

test('the JSON Schema of a section comes from its backend', async () => {
  const module = await importBackend(LOCAL);
  if (typeof module === 'string') throw new Error(module);
  expect(configJsonSchema(module)).toMatchObject({ type: 'object', properties: { path: { type: 'string' } } });
});
