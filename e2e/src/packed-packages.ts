import { execFile } from 'node:child_process';
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { cached } from './cache.js';
import { announced } from './go.js';

const execFileAsync = promisify(execFile);
const clone = path.resolve(import.meta.dirname, '../..');
const exampleSource = path.join(clone, 'examples/backend-http');

/** What our users have: our packages and a vendor's, installed from tarballs outside the clone. */
export interface InstalledPackages {
  /** Where the plugin and all backends are installed. */
  readonly directory: string;
  /** Where the vendor built the example from its sources, with the published types. */
  readonly exampleDirectory: string;
  /** Our tarballs, by the package's name. */
  readonly tarballs: ReadonlyMap<string, string>;
}

/** The name of the example's package. */
export const examplePackage = '@example/sealwax-backend-http';

let installed: Promise<InstalledPackages> | undefined;

/** Packs, builds the example, installs: once for each state of the sources. The packages must be built. */
export async function installedPackages(): Promise<InstalledPackages> {
  // To know the state of the sources takes seconds, and no process lives longer than one.
  installed ??= packAndInstall();
  return installed;
}

async function packAndInstall(): Promise<InstalledPackages> {
  const packing = path.join(clone, 'node_modules/.cache/packed', String(process.pid));
  try {
    const tarballs = await pack(packing);
    const contents = await Promise.all([...tarballs.values()].map((file) => readFile(file)));
    const directory = await cached({
      name: 'installed',
      inputs: [...contents, ...(await exampleFiles())],
      make: (target) => announced('installing the packed packages', () => install(tarballs, target)),
    });
    return {
      directory: path.join(directory, 'plugin'),
      exampleDirectory: path.join(directory, 'example'),
      tarballs: new Map([...tarballs].map(([name, file]) => [name, path.join(directory, path.basename(file))])),
    };
  } finally {
    await rm(packing, { recursive: true, force: true });
  }
}

/** `npm pack` for every package that we publish; npm gives the same bytes for the same files. */
async function pack(directory: string): Promise<ReadonlyMap<string, string>> {
  await mkdir(directory, { recursive: true });
  const packed = new Map<string, string>();
  for (const folder of await readdir(path.join(clone, 'packages'))) {
    const stdout = await npm(['pack', '--json', '--pack-destination', directory], path.join(clone, 'packages', folder));
    const [{ name, filename }] = JSON.parse(stdout) as [{ name: string; filename: string }];
    packed.set(name, path.join(directory, filename));
  }
  return packed;
}

async function exampleFiles(): Promise<Buffer[]> {
  const entries = await readdir(exampleSource, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile() && !/node_modules|dist/.test(entry.parentPath))
    .map((entry) => path.join(entry.parentPath, entry.name))
    .sort();
  return Promise.all(files.map((file) => readFile(file)));
}

async function install(tarballs: ReadonlyMap<string, string>, target: string): Promise<void> {
  await mkdir(target);
  for (const file of tarballs.values()) await cp(file, path.join(target, path.basename(file)));
  const tarball = (name: string): string => `../${path.basename(tarballs.get(name) ?? '')}`;
  const example = path.join(target, 'example');
  await cp(exampleSource, example, {
    recursive: true,
    filter: (file) => !/\/(node_modules|dist)(\/|$)/.test(path.relative(exampleSource, file)),
  });
  await npm(['install', '--no-save', tarball('@sealwax/core')], example);
  await npm(['run', 'build'], example);
  await npm(['pack', '--pack-destination', target], example);
  const plugin = path.join(target, 'plugin');
  await mkdir(plugin);
  const dependencies = Object.fromEntries([...tarballs.keys()].map((name) => [name, `file:${tarball(name)}`]));
  const packedExample = (await readdir(target)).find((name) => name.startsWith('example-'));
  if (packedExample === undefined) throw new Error('npm pack of the example left no tarball');
  await writeFile(
    path.join(plugin, 'package.json'),
    JSON.stringify({ private: true, dependencies: { ...dependencies, [examplePackage]: `file:../${packedExample}` } }),
  );
  await npm(['install'], plugin);
}

/** Runs npm as a user would: its cache first, and nothing of the npm that may have started us. */
async function npm(args: readonly string[], cwd: string): Promise<string> {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name)));
  const options = ['--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error'];
  try {
    const { stdout } = await execFileAsync('npm', [...args, ...options], { cwd, env, maxBuffer: 64 * 1024 * 1024 });
    return stdout;
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    throw new Error(`npm ${args.join(' ')} in ${cwd}:\n${stdout}${stderr}`, { cause: error });
  }
}
