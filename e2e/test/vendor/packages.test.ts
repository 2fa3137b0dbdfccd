import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { installedPackages, type InstalledPackages } from '../../src/packed-packages.js';

const execFileAsync = promisify(execFile);
/** A package's command; both packages name their own by `bin`, and none of them exports it. */
const command = (name: string): string => path.resolve(import.meta.dirname, '../../../node_modules/.bin', name);

// Before the tests are collected: there is one for each tarball.
const installed: InstalledPackages = await installedPackages();

describe.each(installed.tarballs.map((tarball) => [path.basename(tarball), tarball]))('%s', (_name, tarball) => {
  test('publint finds nothing to complain of', async () => {
    const { stdout } = await execFileAsync(process.execPath, [command('publint'), '--strict', tarball]);
    expect(stdout).toContain('All good!');
  });

  test('its types resolve as its code does', async () => {
    const args = [command('attw'), tarball, '--profile', 'esm-only', '--format', 'ascii', '--no-emoji'];
    await execFileAsync(process.execPath, args).catch((error: unknown) => {
      throw new Error((error as { stdout: string }).stdout);
    });
  });
});

describe('the example', () => {
  const { exampleDirectory: cwd } = installed;

  test('was compiled with the published types, which were checked themselves', async () => {
    expect(await readFile(path.join(cwd, 'tsconfig.json'), 'utf8')).toContain('"skipLibCheck": false');
    expect(await readFile(path.join(cwd, 'dist/backend/index.d.ts'), 'utf8')).toContain('BackendModule<HttpConfig>');
  });

  test('would not compile against another interface', async () => {
    const wrong = path.join(cwd, 'wrong.ts');
    onTestFinished(() => rm(wrong));
    await writeFile(
      wrong,
      "import type { Backend } from '@sealwax/core';\nexport const wrap: Backend['wrap'] = async () => 'x';\n",
    );
    const tsc = path.join(cwd, 'node_modules/typescript/bin/tsc');
    const options =
      '--noEmit --ignoreConfig --strict --skipLibCheck --module nodenext --target es2023 --types node wrong.ts';
    const compiled = execFileAsync(process.execPath, [tsc, ...options.split(' ')], { cwd });
    await expect(compiled).rejects.toMatchObject({
      stdout: expect.stringMatching(/^wrong\.ts\(2,\d+\): error TS2322: .*WrappedKey/),
    });
  });

  test('is a backend of fewer than 200 lines', async () => {
    const folder = path.join(cwd, 'src/backend');
    const files = await readdir(folder);
    const sources = await Promise.all(files.map((name) => readFile(path.join(folder, name), 'utf8')));
    const lines = sources.join('').split('\n').length - 1;
    expect(lines).toBeLessThan(200);
  });
});

describe('the installed server', () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'sealwax-vendor-'));
    return () => rm(directory, { recursive: true });
  });

  async function checkLocal(environment: Record<string, string> = {}): Promise<string> {
    const keyFile = path.join(directory, 'keys.json');
    await rm(keyFile, { force: true });
    await execFileAsync(installed.command, ['local', 'init', keyFile]);
    const config = path.join(directory, 'config.yaml');
    const keys = [{ name: 'prod', backend: 'local', config: { path: keyFile } }];
    await writeFile(config, JSON.stringify({ version: 1, cluster: 'vendor', keys }), { mode: 0o600 });
    const env = { PATH: process.env['PATH'], ...environment };
    return (await execFileAsync(installed.command, ['check', '--config', config], { env })).stdout;
  }

  test('needs nothing of what our clone has installed', async () => {
    const names = await readdir(path.join(installed.directory, 'node_modules/@sealwax'));
    expect(names.sort()).toEqual(['core', 'server']);
    expect(await checkLocal()).toContain('local by @sealwax/backend-local 0.1.0');
  });

  test('loads nothing of a backend that no key names, and no test or source', async () => {
    const coverage = path.join(directory, 'coverage');
    await checkLocal({ NODE_V8_COVERAGE: coverage });
    const loaded: string[] = [];
    for (const file of await readdir(coverage)) {
      const { result } = JSON.parse(await readFile(path.join(coverage, file), 'utf8')) as { result: { url: string }[] };
      loaded.push(...result.map(({ url }) => url).filter((url) => url.startsWith('file:')));
    }
    const root = path.join(await realpath(installed.directory), 'node_modules/@sealwax/server/dist/');
    expect(loaded.length).toBeGreaterThan(3);
    for (const url of loaded) expect(url).toContain(root);
    const backends = loaded.map((url) => path.basename(url)).filter((name) => name.startsWith('backend-'));
    expect(backends).toContain('backend-local.js');
    // Chunks of a backend bear its name.
    for (const name of backends) expect(name).toMatch(/^backend-local[.-]/);
  });
});
