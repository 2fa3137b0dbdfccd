import type { KeyObject } from 'node:crypto';
import type { HashName, MechanismName } from '../config.js';
import { aesCbcHmac } from './aes-cbc-hmac.js';
import { aesGcm } from './aes-gcm.js';
import { aesKeyWrapPad } from './aes-key-wrap-pad.js';
import type { Cryptoki, Handle } from './cryptoki.js';
import { rsaOaep } from './rsa-oaep.js';

/** The handles of one version of the KEK; good until the login, the sessions or the module are renewed. */
export interface VersionKeys {
  readonly key: Handle;
  readonly macKey: Handle | undefined;
  readonly publicKey: KeyObject | undefined;
}

export interface SchemeInput {
  readonly cryptoki: Cryptoki;
  /** Does nothing else meanwhile, and is closed by the caller when anything is thrown. */
  readonly session: Handle;
  readonly keys: VersionKeys;
  /** Authenticated where the mechanism can. */
  readonly context: Uint8Array;
}

/** One way to wrap with what a token offers. */
export interface Scheme {
  /** First byte of each wrapped key; frozen. */
  readonly tag: number;
  wrap(plaintext: Uint8Array, input: SchemeInput): Promise<Uint8Array>;
  /** @throws when the token, or a check of ours, does not take `wrapped` */
  unwrap(wrapped: Uint8Array, input: SchemeInput): Promise<Uint8Array>;
}

export function schemeFor(mechanism: MechanismName, hash: HashName): Scheme {
  switch (mechanism) {
    case 'aes-gcm':
      return aesGcm;
    case 'aes-cbc-hmac':
      return aesCbcHmac;
    case 'aes-key-wrap-pad':
      return aesKeyWrapPad;
    case 'rsa-oaep':
      return rsaOaep(hash);
  }
}
