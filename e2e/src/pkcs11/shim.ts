import { execFile } from 'node:child_process';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { cached } from '../cache.js';
import { counterparts } from '../go.js';

const run = promisify(execFile);
const source = path.join(counterparts, 'pkcs11-shim', 'shim.c');
const compilerArguments = ['-std=gnu11', '-O1', '-Wall', '-Werror', '-shared', '-fPIC'];

/** A PKCS #11 module that stands before another one and misbehaves on command; what it can do stands at the top of shim.c. */
export class Shim {
  /** The module to load. */
  readonly module: string;
  readonly #controlPath: string;
  readonly #behind: string;

  private constructor(module: string, options: { readonly controlPath: string; readonly behind: string }) {
    this.module = module;
    this.#controlPath = options.controlPath;
    this.#behind = options.behind;
  }

  /**
   * @param behind - the module that does the work
   * @param directory - for the control file
   */
  static async before(behind: string, directory: string): Promise<Shim> {
    const module = await cached({
      name: 'pkcs11-shim',
      inputs: [await readFile(source), compilerArguments.join(' ')],
      make: async (target) => {
        await run('gcc', [...compilerArguments, '-o', target, source]);
      },
    });
    return new Shim(module, { controlPath: path.join(directory, 'shim.control'), behind });
  }

  /** What the process that loads the shim needs in its environment. */
  get environment(): Readonly<Record<string, string>> {
    return { SHIM_MODULE: this.#behind, SHIM_CONTROL: this.#controlPath };
  }

  /** From now on, each rule `<function or *> <what> [argument]` holds. */
  async misbehave(...rules: readonly string[]): Promise<void> {
    // Whole or not at all: the module reads the file at each call.
    await writeFile(`${this.#controlPath}.new`, rules.map((rule) => `${rule}\n`).join(''));
    await rename(`${this.#controlPath}.new`, this.#controlPath);
  }

  async behave(): Promise<void> {
    await rm(this.#controlPath, { force: true });
  }
}
