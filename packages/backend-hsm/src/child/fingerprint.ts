import { createHash } from 'node:crypto';
import { returnValueOf } from '../errors.js';
import { cbcEncrypt } from './aes-cbc-hmac.js';
import { CKA, CKM } from './cryptoki.js';
import { held } from './held.js';
import { attribute, publicKeyHash } from './key-search.js';
import type { SchemeInput } from './scheme.js';

/** What a fingerprint is made of; the first word of it. */
export type FingerprintKind = 'spki' | 'kcv' | 'cbc' | 'none';

/** Encrypted to tell keys apart; a block that no mode in use ever feeds to the cipher by itself. */
const PROBE = createHash('sha256').update('sealwax hsm fingerprint').digest().subarray(0, 16);
const LENGTH = 16;

/**
 * Tells a key from another one beneath the same label and id, as `kind:hexadecimal digits`:
 * - `spki`: hash of the public key
 * - `kcv`: CKA_CHECK_VALUE, where the token shows it
 * - `cbc`: hash of a fixed block, encrypted by the key with AES-CBC and, where there is one, MACed by the MAC key
 *
 * @param wanted - this kind only, to compare with what was stored
 * @returns `undefined` when the token offers nothing to tell the key by
 */
export async function fingerprintOf(input: SchemeInput, wanted?: FingerprintKind): Promise<string | undefined> {
  const { cryptoki, session, keys } = input;
  const { publicKey } = keys;
  const wants = (kind: FingerprintKind) => wanted === undefined || wanted === kind;
  if (publicKey !== undefined) return wants('spki') ? `spki:${publicKeyHash(publicKey)}` : undefined;
  // A check value names the AES key alone; with a MAC key beside it, both have to be told.
  if (keys.macKey === undefined && wants('kcv')) {
    const value = attribute(cryptoki, session, { handle: keys.key, type: CKA.checkValue });
    if (value !== undefined) return `kcv:${value.toString('hex')}`;
  }
  return wants('cbc') ? computed(input) : undefined;
}

async function computed({ cryptoki, session, keys }: SchemeInput): Promise<string | undefined> {
  const hash = createHash('sha256');
  try {
    const iv = new Uint8Array(PROBE.length);
    hash.update(await cbcEncrypt(Uint8Array.from(PROBE), { cryptoki, session, key: keys.key, iv }));
    if (keys.macKey !== undefined) {
      cryptoki.C_SignInit(session, { mechanism: CKM.sha256Hmac }, keys.macKey);
      hash.update(await held(PROBE, 32, (input, room) => cryptoki.C_SignAsync(session, input, room)));
    }
  } catch (error) {
    if (NOT_ALLOWED.has(returnValueOf(error))) return undefined;
    throw error;
  }
  return `cbc:${hash.digest('hex').slice(0, LENGTH)}`;
}

/** The key may not encrypt, or not with this mechanism. */
const NOT_ALLOWED: ReadonlySet<number | undefined> = new Set([0x54, 0x63, 0x68, 0x70, 0x71]);
