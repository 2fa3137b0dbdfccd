import { backend } from '@sealwax/backend-hsm';
import type { Harness } from '@sealwax/core/conformance';
import { SoftHsm, type KeyOptions } from './softhsm.js';

export type SoftHsmMechanism = 'aes-gcm' | 'aes-cbc-hmac' | 'rsa-oaep' | 'aes-key-wrap-pad';

/** A service, the backend's name and config for it, and how to break it. */
export interface HsmService {
  readonly backend: 'hsm';
  readonly config: Readonly<Record<string, unknown>>;
  readonly harness: Harness;
  readonly stop: () => Promise<void>;
}

const label = 'kms';
/** Short, because a module that hangs is noticed by nothing else. */
const callTimeoutSeconds = 2;

/** SoftHSM behind the shim, with one version of a KEK. */
export async function startSoftHsm(
  directory: string,
  mechanism: SoftHsmMechanism = 'aes-gcm',
): Promise<HsmService & { readonly softHsm: SoftHsm }> {
  const softHsm = await SoftHsm.create(directory);
  const versions = new Versions(softHsm, mechanism);
  await versions.add();
  const { shim } = softHsm;
  const config = {
    module: shim.module,
    environment: { ...softHsm.environment, ...shim.environment },
    token: { label: softHsm.tokenLabel },
    key: { label },
    pinFile: softHsm.pinFile,
    mechanism,
    ...(mechanism === 'rsa-oaep' ? { hash: 'sha1' } : {}),
    ...(mechanism === 'aes-cbc-hmac' ? { macKey: { label: `${label}-mac` } } : {}),
    callTimeoutSeconds,
  };
  let gone: KeyOptions['id'] | undefined;
  const harness: Harness = {
    module: backend,
    moduleUrl: import.meta.resolve('@sealwax/backend-hsm'),
    config,
    secrets: softHsm.pins,
    faults: {
      stranger: 'a token is not asked over a network',
      rotate: () => versions.add(),
      stall: () => shim.misbehave('* hang'),
      outage: () => shim.misbehave('* error 0x32'),
      throttle: () =>
        shim.misbehave(
          'C_OpenSession error 0xb1',
          'C_EncryptInit error 0xb1',
          'C_DecryptInit error 0xb1',
          'C_SignInit error 0xb1',
          'C_CreateObject error 0xb1',
          'C_UnwrapKey error 0xb1',
        ),
      expireCredential: async () => {
        await softHsm.changePin(`pin-${softHsm.pins.length}-of-the-token`);
        // The token has ended our login, too, and takes no other than the new one.
        await shim.misbehave(
          ...['C_FindObjectsInit', 'C_EncryptInit', 'C_DecryptInit', 'C_SignInit', 'C_UnwrapKey', 'C_CreateObject'].map(
            (name) => `${name} error 0x101`,
          ),
        );
      },
      deny: () =>
        shim.misbehave(
          ...['C_EncryptInit', 'C_DecryptInit', 'C_SignInit', 'C_WrapKey', 'C_UnwrapKey'].map(
            (name) => `${name} error 0x68`,
          ),
        ),
      disable:
        'PKCS #11 has no switch for a key; what comes nearest, attributes that forbid its use, is the fault deny',
      deleteKey: async () => {
        gone = await versions.deleteAll();
      },
      destroyOldVersion: () => versions.deleteOlder(),
      replaceKek: () => versions.replace(),
    },
    mend: async () => {
      await shim.behave();
      await softHsm.writePin();
      if (gone !== undefined) await versions.add();
      gone = undefined;
    },
  };
  return { backend: 'hsm', config, harness, softHsm, stop: () => Promise.resolve() };
}

/** The versions of the KEK in the token: one AES key, an AES and a MAC key, or one RSA key each. */
class Versions {
  readonly #softHsm: SoftHsm;
  readonly #types: readonly KeyOptions['type'][];
  #ids: string[] = [];
  #next = 1;

  constructor(softHsm: SoftHsm, mechanism: SoftHsmMechanism) {
    this.#softHsm = softHsm;
    this.#types =
      mechanism === 'rsa-oaep' ? ['rsa:2048'] : mechanism === 'aes-cbc-hmac' ? ['GENERIC:32', 'AES:32'] : ['AES:32'];
  }

  async add(): Promise<void> {
    const id = this.#next.toString(16).padStart(4, '0');
    this.#next += 1;
    await this.#make(id);
    this.#ids.push(id);
  }

  /** @returns the id of the last one */
  async deleteAll(): Promise<string | undefined> {
    for (const id of this.#ids) await this.#delete(id);
    const last = this.#ids.at(-1);
    this.#ids = [];
    return last;
  }

  async deleteOlder(): Promise<void> {
    for (const id of this.#ids.slice(0, -1)) await this.#delete(id);
    this.#ids = this.#ids.slice(-1);
  }

  /** Other keys beneath the same labels and ids. */
  async replace(): Promise<void> {
    for (const id of this.#ids) {
      await this.#delete(id);
      await this.#make(id);
    }
  }

  async #make(id: string): Promise<void> {
    // The MAC key first: a version is there as soon as its AES key is.
    for (const type of this.#types) await this.#softHsm.makeKey({ label: labelOf(type), id, type });
  }

  async #delete(id: string): Promise<void> {
    for (const type of this.#types) await this.#softHsm.deleteKey({ label: labelOf(type), id, type });
  }
}

/** One label for each kind of key, so that tools can tell them apart. */
function labelOf(type: KeyOptions['type']): string {
  return type === 'GENERIC:32' ? `${label}-mac` : label;
}
