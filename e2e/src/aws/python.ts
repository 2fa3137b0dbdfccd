import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { cached } from '../cache.js';
import { announced, counterparts } from '../go.js';

const execFileAsync = promisify(execFile);

/** LocalStack needs 3.12 or newer, and the frozen requirements were resolved with this one. */
const version = '3.13';

/** Directories in which the programs of `counterparts/aws/<name>.txt` are installed, with a Python of their own. */
export interface PythonEnvironment {
  readonly python: string;
  /** Of the commands that its packages bring. */
  readonly bin: string;
}

/**
 * A virtual environment that holds exactly what the frozen requirements name, by their hashes; installed when it is not in the cache.
 *
 * @param name - of the file below `counterparts/aws`
 */
export async function pythonEnvironment(name: string): Promise<PythonEnvironment> {
  const requirements = path.join(counterparts, 'aws', `${name}.txt`);
  const base = await findPython();
  const directory = await cached({
    name: `python-${name}`,
    inputs: [await readFile(requirements), version],
    make: async (target) => {
      await announced(`installing ${name}`, async () => {
        await execFileAsync(base, ['-m', 'venv', target]);
        const install = [
          'install',
          '--quiet',
          '--disable-pip-version-check',
          '--no-input',
          '--no-deps',
          '--require-hashes',
        ];
        await execFileAsync(path.join(target, 'bin/python'), ['-m', 'pip', ...install, '-r', requirements]);
      });
    },
  });
  const bin = path.join(directory, 'bin');
  return { python: path.join(bin, 'python'), bin };
}

/** @throws when there is none: a counterpart that is missing is a failure, never a reason to skip */
async function findPython(): Promise<string> {
  const pyenv = path.join(process.env['PYENV_ROOT'] ?? path.join(homedir(), '.pyenv'), 'versions');
  const installed = await readdir(pyenv).catch(() => []);
  const candidates = [
    ...installed.filter((name) => name.startsWith(`${version}.`)).map((name) => path.join(pyenv, name, 'bin/python')),
    `python${version}`,
  ];
  for (const candidate of candidates) {
    // A shim may be there and refuse to run.
    const answer = await execFileAsync(candidate, ['--version']).catch(() => undefined);
    if (answer?.stdout.startsWith(`Python ${version}.`) === true) return candidate;
  }
  throw new Error(`no Python ${version} (looked for ${candidates.join(', ')}); LocalStack and MiniStack run on it`);
}
