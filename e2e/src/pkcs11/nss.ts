import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { promisify } from 'node:util';
import { backend } from '@sealwax/backend-hsm';
import type { Harness } from '@sealwax/core/conformance';
import { DebianTree } from '../debian.js';
import type { HsmService } from './softhsm-harness.js';

const run = promisify(execFile);

/** A database of NSS softokn: no daemon, no slot of hardware, a directory with three files. */
export class Nss {
  readonly tree: DebianTree;
  readonly tokenLabel = 'NSS Certificate DB';
  readonly pinFile: string;
  readonly pin = 'pin-of-the-nss-database';
  readonly #directory: string;

  private constructor(tree: DebianTree, directory: string) {
    this.tree = tree;
    this.#directory = directory;
    this.pinFile = path.join(directory, 'pin');
  }

  static async create(directory: string): Promise<Nss> {
    const nss = new Nss(await DebianTree.get('pkcs11'), directory);
    await mkdir(nss.databaseDirectory, { recursive: true, mode: 0o700 });
    await writeFile(nss.pinFile, `${nss.pin}\n`, { mode: 0o600 });
    await nss.tree.run('certutil', ['-N', '-d', `sql:${nss.databaseDirectory}`, '-f', nss.pinFile]);
    return nss;
  }

  get module(): string {
    return this.tree.library('libsoftokn3.so');
  }

  get databaseDirectory(): string {
    return path.join(this.#directory, 'db');
  }

  get moduleParameters(): string {
    return `configdir='sql:${this.databaseDirectory}' certPrefix='' keyPrefix='' secmod='secmod.db' flags=`;
  }

  /** Makes an AES key in the database; none of the tools of NSS gives it the label and the id that are wanted. */
  async makeKey({ label, id }: { readonly label: string; readonly id: string }): Promise<void> {
    await this.#script(
      `const key = p.C_GenerateKey(s, { mechanism: c.CKM_AES_KEY_GEN }, [
        { type: c.CKA_TOKEN, value: true }, { type: c.CKA_LABEL, value: a.label },
        { type: c.CKA_ID, value: Buffer.from(a.id, 'hex') }, { type: c.CKA_VALUE_LEN, value: 32 },
        ...['PRIVATE', 'SENSITIVE', 'ENCRYPT', 'DECRYPT', 'WRAP', 'UNWRAP'].map((n) => ({ type: c['CKA_' + n], value: true })),
        { type: c.CKA_EXTRACTABLE, value: false },
      ]);`,
      { label, id },
    );
  }

  async deleteKey(names: { readonly label: string; readonly id: string }): Promise<void> {
    await this.#script(
      `p.C_FindObjectsInit(s, [{ type: c.CKA_LABEL, value: a.label }, { type: c.CKA_ID, value: Buffer.from(a.id, 'hex') }]);
       const found = p.C_FindObjects(s, 10);
       p.C_FindObjectsFinal(s);
       for (const handle of found) p.C_DestroyObject(s, handle);`,
      names,
    );
  }

  /** Runs a few calls of PKCS #11 in a process of their own, in a read-write session that is logged in. */
  async #script(body: string, values: Readonly<Record<string, string>>): Promise<void> {
    const pkcs11js = createRequire(createRequire(import.meta.url).resolve('@sealwax/backend-hsm')).resolve('pkcs11js');
    const script = `
      const c = require(${JSON.stringify(pkcs11js)});
      const a = JSON.parse(process.argv[1]);
      const p = new c.PKCS11();
      p.load(a.module);
      p.C_Initialize({ libraryParameters: a.parameters, flags: c.CKF_OS_LOCKING_OK });
      const slot = p.C_GetSlotList(true).find((one) => p.C_GetTokenInfo(one).label.trim() === a.token);
      const s = p.C_OpenSession(slot, c.CKF_SERIAL_SESSION | c.CKF_RW_SESSION);
      p.C_Login(s, c.CKU_USER, a.pin);
      ${body}
      p.C_Finalize();`;
    const argument = JSON.stringify({
      ...values,
      module: this.module,
      parameters: this.moduleParameters,
      token: this.tokenLabel,
      pin: this.pin,
    });
    await run(process.execPath, ['-e', script, argument], { env: { ...this.tree.environment } });
  }
}

const label = 'kms';

/** NSS softokn with one version of a KEK. */
export async function startNss(directory: string): Promise<HsmService & { readonly nss: Nss }> {
  const nss = await Nss.create(directory);
  let ids: string[] = [];
  let next = 1;
  const add = async () => {
    const id = next.toString(16).padStart(4, '0');
    next += 1;
    await nss.makeKey({ label, id });
    ids.push(id);
  };
  await add();
  const config = {
    module: nss.module,
    environment: nss.tree.environment,
    moduleParameters: nss.moduleParameters,
    token: { label: nss.tokenLabel },
    key: { label },
    pinFile: nss.pinFile,
    mechanism: 'aes-gcm',
  };
  const noService = 'NSS is a library and a file; what a module that fails does to the plugin is played with the shim';
  const harness: Harness = {
    module: backend,
    moduleUrl: import.meta.resolve('@sealwax/backend-hsm'),
    config,
    secrets: [nss.pin],
    faults: {
      stranger: noService,
      rotate: add,
      stall: noService,
      outage: noService,
      throttle: noService,
      expireCredential: noService,
      deny: noService,
      disable: 'PKCS #11 has no switch for a key',
      deleteKey: async () => {
        for (const id of ids) await nss.deleteKey({ label, id });
        ids = [];
      },
      destroyOldVersion: async () => {
        for (const id of ids.slice(0, -1)) await nss.deleteKey({ label, id });
        ids = ids.slice(-1);
      },
      replaceKek: async () => {
        for (const id of ids) {
          await nss.deleteKey({ label, id });
          await nss.makeKey({ label, id });
        }
      },
    },
    mend: async () => {
      if (ids.length === 0) await add();
    },
  };
  return { backend: 'hsm', config, harness, nss, stop: () => Promise.resolve() };
}
