import { createRequire } from 'node:module';
import { moduleWords, returnValueOf } from '../errors.js';
import type { ModuleSettings } from '../protocol.js';
import { CallFailure } from './call-failure.js';
import { CKF, CKR, type Cryptoki, type Handle, type TokenInfo } from './cryptoki.js';

/** A token in its slot. The slot's handle is good until the module is initialized anew. */
export interface SlotToken {
  readonly slot: Handle;
  readonly info: TokenInfo;
}

/** The module, loaded into this process and initialized. */
export class LoadedModule {
  readonly cryptoki: Cryptoki;
  readonly #settings: ModuleSettings;

  private constructor(cryptoki: Cryptoki, settings: ModuleSettings) {
    this.cryptoki = cryptoki;
    this.#settings = settings;
  }

  /** @throws {CallFailure} */
  static load(settings: ModuleSettings): LoadedModule {
    const module = new LoadedModule(new (pkcs11js().PKCS11)(), settings);
    try {
      module.cryptoki.load(settings.path);
    } catch (error) {
      // The dynamic linker's words, for instance about a library that the module needs and that is missing.
      throw new CallFailure('config', `cannot be loaded: ${moduleWords(error)}`, { path: 'module' });
    }
    module.#initialize();
    return module;
  }

  /** C_Finalize and C_Initialize: some modules learn of changed PINs, new tokens and a restarted device by nothing less. */
  reinitialize(): void {
    this.finalize();
    this.#initialize();
  }

  finalize(): void {
    try {
      this.cryptoki.C_Finalize();
    } catch {
      // Was not initialized, or cannot end: the next step, or the end of this process, copes with both.
    }
  }

  /** Tokens that are present and initialized. */
  tokens(): SlotToken[] {
    return this.cryptoki
      .C_GetSlotList(true)
      .map((slot) => ({ slot, info: trimmed(this.cryptoki.C_GetTokenInfo(slot)) }))
      .filter(({ info }) => (info.flags & CKF.tokenInitialized) !== 0);
  }

  #initialize(): void {
    const { parameters } = this.#settings;
    try {
      this.cryptoki.C_Initialize({
        flags: CKF.osLockingOk,
        ...(parameters === undefined ? {} : { libraryParameters: parameters }),
      });
    } catch (error) {
      if (returnValueOf(error) !== CKR.cryptokiAlreadyInitialized) throw error;
    }
  }
}

function pkcs11js(): { readonly PKCS11: new () => Cryptoki } {
  try {
    return createRequire(import.meta.url)('pkcs11js') as { readonly PKCS11: new () => Cryptoki };
  } catch (error) {
    throw new CallFailure('config', `pkcs11js cannot be loaded: ${moduleWords(error).split('\n')[0] ?? ''}`);
  }
}

/** Labels and serials are padded with blanks, and some modules end them with a NUL. */
function trimmed(info: TokenInfo): TokenInfo {
  const trim = (text: string) => text.replace(/[\s\0]+$/, '');
  const { label, manufacturerID, model, serialNumber, flags } = info;
  return {
    label: trim(label),
    manufacturerID: trim(manufacturerID),
    model: trim(model),
    serialNumber: trim(serialNumber),
    flags,
  };
}
