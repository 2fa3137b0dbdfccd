import { cp, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { DebianTree } from '../debian.js';
import { Shim } from './shim.js';

const soPin = '87654321';

/** How a key of the token is made. */
export interface KeyOptions {
  readonly label: string;
  /** CKA_ID in hexadecimal. */
  readonly id: string;
  /** As `pkcs11-tool --key-type` takes it. */
  readonly type: 'AES:32' | 'GENERIC:32' | 'rsa:2048' | 'rsa:3072';
}

/** A SoftHSM with one token, in a directory of its own, behind a shim. */
export class SoftHsm {
  readonly tree: DebianTree;
  readonly shim: Shim;
  readonly tokenLabel = 'kms';
  /** The user PIN, as the token has it. */
  pin = '1234-5678';
  readonly pinFile: string;
  readonly #directory: string;
  readonly #pins = ['1234-5678'];

  private constructor(tree: DebianTree, shim: Shim, directory: string) {
    this.tree = tree;
    this.shim = shim;
    this.#directory = directory;
    this.pinFile = path.join(directory, 'pin');
  }

  static async create(directory: string): Promise<SoftHsm> {
    const tree = await DebianTree.get('pkcs11');
    await mkdir(path.join(directory, 'tokens'), { recursive: true, mode: 0o700 });
    const shim = await Shim.before(tree.file('usr/lib/softhsm/libsofthsm2.so'), directory);
    const softHsm = new SoftHsm(tree, shim, directory);
    await writeFile(
      path.join(directory, 'softhsm2.conf'),
      `directories.tokendir = ${softHsm.tokensDirectory}\nobjectstore.backend = file\nlog.level = ERROR\n`,
    );
    const names = ['--label', softHsm.tokenLabel, '--so-pin', soPin, '--pin', softHsm.pin];
    await softHsm.#run('softhsm2-util', '--module', softHsm.module, '--init-token', '--free', ...names);
    await softHsm.writePin();
    return softHsm;
  }

  /** The module itself, without the shim. */
  get module(): string {
    return this.tree.file('usr/lib/softhsm/libsofthsm2.so');
  }

  get tokensDirectory(): string {
    return path.join(this.#directory, 'tokens');
  }

  get environment(): Readonly<Record<string, string>> {
    return { ...this.tree.environment, SOFTHSM2_CONF: path.join(this.#directory, 'softhsm2.conf') };
  }

  /** Every PIN that the token ever had. */
  get pins(): readonly string[] {
    return this.#pins;
  }

  /** Puts the token's PIN into the PIN file, as the operator does who changed it. */
  async writePin(pin = this.pin): Promise<void> {
    await writeFile(`${this.pinFile}.new`, `${pin}\n`, { mode: 0o600 });
    await rename(`${this.pinFile}.new`, this.pinFile);
  }

  async makeKey({ label, id, type }: KeyOptions): Promise<void> {
    const what = type.startsWith('rsa') ? '--keypairgen' : '--keygen';
    await this.tool(what, '--key-type', type, '--label', label, '--id', id, '--sensitive');
  }

  async deleteKey({ label, id, type }: KeyOptions): Promise<void> {
    const kinds = type.startsWith('rsa') ? ['privkey', 'pubkey'] : ['secrkey'];
    for (const kind of kinds) await this.tool('--delete-object', '--type', kind, '--label', label, '--id', id);
  }

  /** Changes the token's PIN; the PIN file keeps the old one. */
  async changePin(pin: string): Promise<void> {
    await this.tool('--change-pin', '--new-pin', pin);
    this.pin = pin;
    this.#pins.push(pin);
  }

  /** `pkcs11-tool`, logged in. */
  async tool(...args: readonly string[]): Promise<string> {
    const login = ['--module', this.module, '--token-label', this.tokenLabel, '--login', '--pin', this.pin];
    return this.#run('pkcs11-tool', ...login, ...args);
  }

  async backUp(): Promise<string> {
    const copy = path.join(this.#directory, 'backup');
    await rm(copy, { recursive: true, force: true });
    await cp(this.tokensDirectory, copy, { recursive: true });
    return copy;
  }

  /** As if the token's files were gone. */
  async lose(): Promise<void> {
    await rm(this.tokensDirectory, { recursive: true, force: true });
    await mkdir(this.tokensDirectory, { mode: 0o700 });
  }

  async restore(copy: string): Promise<void> {
    await rm(this.tokensDirectory, { recursive: true, force: true });
    await cp(copy, this.tokensDirectory, { recursive: true });
  }

  async #run(program: string, ...args: readonly string[]): Promise<string> {
    return this.tree.run(program, args, this.environment);
  }
}
