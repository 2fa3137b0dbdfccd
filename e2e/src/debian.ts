import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { cached } from './cache.js';
import { announced, counterparts } from './go.js';

const run = promisify(execFile);
const multiarch = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';

/** What is taken from Debian, and for what; each has a list in `counterparts/debian/` with versions and hashes. */
const lists = {
  pkcs11: 'PKCS #11 modules and TPM tools',
  faketime: 'libfaketime',
  prometheus: 'promtool',
} as const;

interface Package {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  readonly sha256: string;
}

/** Programs and modules of Debian packages, unpacked into the cache: nothing is installed, no service starts, and no root is needed. */
export class DebianTree {
  readonly #root: string;

  private constructor(root: string) {
    this.#root = root;
  }

  /** The tree of a list, downloaded when it is not in the cache. */
  static async get(name: keyof typeof lists): Promise<DebianTree> {
    const list = await readFile(path.join(counterparts, 'debian', `${name}.txt`));
    const root = await cached({
      name,
      inputs: [list],
      make: (target, workspace) =>
        announced(`downloading ${lists[name]} from Debian`, () =>
          unpack(parse(list.toString()), { target, workspace }),
        ),
    });
    return new DebianTree(root);
  }

  /** A file of a package, by its path below `/`. */
  file(name: string): string {
    return path.join(this.#root, name);
  }

  /** A shared library or PKCS #11 module. */
  library(name: string): string {
    return path.join(this.#root, 'usr/lib', multiarch, name);
  }

  /** What a process needs to find the tree's programs and libraries. */
  get environment(): Readonly<Record<string, string>> {
    return { LD_LIBRARY_PATH: this.libraryPath };
  }

  get libraryPath(): string {
    return [`usr/lib/${multiarch}`, `lib/${multiarch}`].map((folder) => path.join(this.#root, folder)).join(':');
  }

  /** Runs one of the tree's programs and returns what it prints. */
  async run(
    program: string,
    args: readonly string[],
    environment: Readonly<Record<string, string>> = {},
  ): Promise<string> {
    const env = { ...this.shellEnvironment, ...environment };
    try {
      const { stdout, stderr } = await run(path.join(this.#root, 'usr/bin', program), args, { env });
      return `${stdout}${stderr}`;
    } catch (error) {
      const stderr = error instanceof Error && 'stderr' in error ? String(error.stderr) : '';
      throw new Error(`${program} ${args.join(' ')}: ${stderr}`, { cause: error });
    }
  }

  /** For a shell that is to find the tree's programs by their names, as after an installation. */
  get shellEnvironment(): Readonly<Record<string, string>> {
    return {
      ...this.environment,
      PATH: `${path.join(this.#root, 'usr/bin')}:/usr/local/bin:/usr/bin:/bin`,
      HOME: process.env['HOME'] ?? '/',
      PYTHONPATH: path.join(this.#root, 'usr/lib/python3/dist-packages'),
    };
  }
}

async function unpack(
  packages: readonly Package[],
  { target, workspace }: { readonly target: string; readonly workspace: string },
): Promise<void> {
  const downloads = path.join(workspace, 'downloads');
  await mkdir(downloads);
  await mkdir(target);
  await download(packages, { downloads, workspace });
  for (const file of await readdir(downloads)) await run('dpkg', ['-x', path.join(downloads, file), target]);
}

async function download(
  packages: readonly Package[],
  { downloads, workspace }: { readonly downloads: string; readonly workspace: string },
): Promise<void> {
  const pinned = packages.map(({ name, version }) => `${name}=${version}`);
  const get = (options: readonly string[], names: readonly string[]) =>
    run('apt-get', [...options, '-q', 'download', ...names], { cwd: downloads });
  // With root, apt would download as a user of its own, who cannot write here.
  const options = ['-o', 'APT::Sandbox::User=root'];
  try {
    await get(options, pinned);
  } catch {
    // The machine's lists are missing or old: lists of our own, beside the download.
    const own = path.join(workspace, 'lists');
    await mkdir(path.join(own, 'partial'), { recursive: true });
    const fresh = [...options, '-o', `Dir::State::lists=${own}`, '-o', `Dir::Cache=${path.join(workspace, 'apt')}`];
    await run('apt-get', [...fresh, '-q', 'update']);
    try {
      await get(fresh, pinned);
    } catch (error) {
      // The archive keeps one version of each package: a security update has taken the place of a pinned one.
      console.log(`Debian has other versions than the pinned ones, which are taken instead: ${String(error)}`);
      const names = packages.map(({ name }) => name);
      await get(fresh, names);
      return;
    }
  }
  await verify(packages, downloads);
}

/** apt has checked the archive's signature; this checks that it is the very file that the tests were made with. */
async function verify(packages: readonly Package[], downloads: string): Promise<void> {
  const wanted = new Map(packages.map(({ sha256, name }) => [sha256, name]));
  for (const file of await readdir(downloads)) {
    const sha256 = createHash('sha256')
      .update(await readFile(path.join(downloads, file)))
      .digest('hex');
    const isOther = architecture !== 'amd64' && !file.endsWith('_all.deb');
    if (!wanted.has(sha256) && !isOther) throw new Error(`${file}: sha256 ${sha256} is not in the list`);
  }
}

function parse(list: string): Package[] {
  return list
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [name, version, architecture, sha256] = line.split(' ');
      if (name === undefined || version === undefined || architecture === undefined || sha256 === undefined)
        throw new Error(`not "name version architecture sha256": ${line}`);
      return { name, version, architecture, sha256 };
    });
}
