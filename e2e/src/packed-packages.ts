import { execFile } from 'node:child_process';
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import { cached } from './cache.js';
import { announced } from './go.js';

const execFileAsync = promisify(execFile);
const clone = path.resolve(import.meta.dirname, '../..');
const packages = path.join(clone, 'packages');
const exampleSource = path.join(clone, 'examples/backend-http');
/** What npm packs, and nothing that changes by itself. */
const packedParts = ['package.json', 'bin', 'dist', 'src'];

/** The name of the example's package. */
export const examplePackage = '@example/sealwax-backend-http';

/** What our users have: our packages and a vendor's, installed from tarballs outside the clone. */
export interface InstalledPackages {
  /** Where the plugin and the vendor's backend are installed, and nothing else. */
  readonly directory: string;
  /** The command `sealwax` that is installed there. */
  readonly command: string;
  /** Where the vendor built the example from its sources, with the published types. */
  readonly exampleDirectory: string;
  /** All tarballs: ours and the example's. */
  readonly tarballs: readonly string[];
}

const packed = z.array(z.object({ name: z.string(), filename: z.string() })).length(1);

let installed: Promise<InstalledPackages> | undefined;

/** Packs, builds the example, installs: once for each state of the files. Our packages must be built. */
export async function installedPackages(): Promise<InstalledPackages> {
  // To know the state of the files takes seconds, and no process lives longer than one.
  installed ??= packAndInstall();
  return installed;
}

async function packAndInstall(): Promise<InstalledPackages> {
  const folders = (await readdir(packages)).map((name) => path.join(packages, name));
  const parts = [...folders.flatMap((folder) => packedParts.map((part) => path.join(folder, part))), exampleSource];
  const root = await cached({
    name: 'installed',
    inputs: await contentsOf(parts),
    make: (target) => announced('installing the packed packages', () => install(folders, target)),
  });
  const directory = path.join(root, 'plugin');
  return {
    directory,
    command: path.join(directory, 'node_modules/.bin/sealwax'),
    exampleDirectory: path.join(root, 'example'),
    tarballs: (await readdir(root)).filter((name) => name.endsWith('.tgz')).map((name) => path.join(root, name)),
  };
}

/** Every file below `parts` that is there, its path and its bytes. */
async function contentsOf(parts: readonly string[]): Promise<(string | Buffer)[]> {
  const contents: (string | Buffer)[] = [];
  for (const part of parts) {
    for (const file of await filesBelow(part)) contents.push(path.relative(clone, file), await readFile(file));
  }
  return contents;
}

async function filesBelow(part: string): Promise<string[]> {
  try {
    const entries = await readdir(part, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile() && isSource(entry.parentPath))
      .map((entry) => path.join(entry.parentPath, entry.name))
      .sort();
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOTDIR') return [part];
    if (code === 'ENOENT') return [];
    throw error;
  }
}

/** Somebody may have tried out the example where it stands. */
function isSource(file: string): boolean {
  return !/^(node_modules|dist)(\/|$)/.test(path.relative(exampleSource, file));
}

async function install(folders: readonly string[], target: string): Promise<void> {
  await mkdir(target);
  const tarballs = new Map<string, string>();
  const pack = async (folder: string): Promise<void> => {
    const [{ name, filename } = { name: '', filename: '' }] = packed.parse(
      JSON.parse(await npm(['pack', '--json', '--pack-destination', target], folder)),
    );
    tarballs.set(name, `file:../${filename}`);
  };
  for (const folder of folders) await pack(folder);

  const example = path.join(target, 'example');
  await cp(exampleSource, example, { recursive: true, filter: isSource });
  const ours = ['@sealwax/core', '@sealwax/server'].map((name) => tarballs.get(name) ?? '');
  await npm(['install', '--no-save', ...ours], example);
  await npm(['run', 'build'], example);
  await pack(example);

  const plugin = path.join(target, 'plugin');
  await mkdir(plugin);
  // The vendor's package needs core, and core is not published yet.
  const names = ['@sealwax/server', '@sealwax/core', examplePackage];
  const dependencies = Object.fromEntries(names.map((name) => [name, tarballs.get(name)]));
  await writeFile(path.join(plugin, 'package.json'), JSON.stringify({ private: true, dependencies }));
  await npm(['install'], plugin);
}

/** Runs npm as a user would: its cache first, and without the settings of an npm that may have started us. */
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
