import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import type { MechanismName } from '../config.js';
import { returnValueOf } from '../errors.js';
import { CallFailure } from './call-failure.js';
import { CKA, CKK, CKO, CKR, type Cryptoki, type Handle, type Template } from './cryptoki.js';

const FOUND_AT_ONCE = 100;
/** "This object has no such attribute", or may not show it. Nothing else: a dead device must not look like a key without an id. */
const NOT_SHOWN: ReadonlySet<number | undefined> = new Set([CKR.attributeSensitive, CKR.attributeTypeInvalid]);

/** A key of the token, as found. */
export interface FoundKey {
  readonly handle: Handle;
  readonly label: string;
  /** CKA_ID in hexadecimal. */
  readonly id: string;
}

export interface KeyQuery {
  readonly kind: 'aes' | 'mac' | 'rsa';
  readonly label: string | undefined;
  readonly id: string | undefined;
}

/** What a mechanism's key is. */
export function kindOf(mechanism: MechanismName): KeyQuery['kind'] {
  return mechanism === 'rsa-oaep' ? 'rsa' : 'aes';
}

/** The keys that fit, in no order. Private ones are seen only after the login. */
export function findKeys(cryptoki: Cryptoki, session: Handle, { kind, label, id }: KeyQuery): FoundKey[] {
  const template: Template = [
    { type: CKA.class, value: kind === 'rsa' ? CKO.privateKey : CKO.secretKey },
    ...(kind === 'mac' ? [] : [{ type: CKA.keyType, value: kind === 'rsa' ? CKK.rsa : CKK.aes }]),
    ...(label === undefined ? [] : [{ type: CKA.label, value: label }]),
    ...(id === undefined ? [] : [{ type: CKA.id, value: Buffer.from(id, 'hex') }]),
  ];
  const found = find(cryptoki, session, template).map((handle) => ({
    handle,
    label: attribute(cryptoki, session, { handle, type: CKA.label })?.toString('utf8').replace(/\0+$/, '') ?? '',
    id: attribute(cryptoki, session, { handle, type: CKA.id })?.toString('hex') ?? '',
  }));
  // Tokens disagree about the type of a key that makes MACs: whatever is no cipher's key and signs is one.
  return kind === 'mac' ? found.filter(({ handle }) => keyType(cryptoki, session, handle) !== CKK.aes) : found;
}

export function find(cryptoki: Cryptoki, session: Handle, template: Template): Handle[] {
  const handles: Handle[] = [];
  cryptoki.C_FindObjectsInit(session, template);
  for (;;) {
    const some = cryptoki.C_FindObjects(session, FOUND_AT_ONCE);
    handles.push(...some);
    if (some.length < FOUND_AT_ONCE) break;
  }
  cryptoki.C_FindObjectsFinal(session);
  return handles;
}

/** An attribute's value; `undefined` when the token does not show it. */
export function attribute(
  cryptoki: Cryptoki,
  session: Handle,
  { handle, type }: { readonly handle: Handle; readonly type: number },
): Buffer | undefined {
  try {
    const value = cryptoki.C_GetAttributeValue(session, handle, [{ type }])[0]?.value;
    return value === undefined || value.length === 0 ? undefined : value;
  } catch (error) {
    if (NOT_SHOWN.has(returnValueOf(error))) return undefined;
    throw error;
  }
}

export function keyType(cryptoki: Cryptoki, session: Handle, handle: Handle): number | undefined {
  return integer(attribute(cryptoki, session, { handle, type: CKA.keyType }));
}

/** A CK_ULONG: four or eight bytes, in the machine's own order, which is little-endian wherever Node runs with pkcs11js. */
export function integer(value: Buffer | undefined): number | undefined {
  return value === undefined || value.length < 4 ? undefined : value.readUInt32LE(0);
}

/** The public half of the RSA key `key`, from the private key object where it shows it, else from the public key object of the same id. */
export function publicKeyOf(cryptoki: Cryptoki, session: Handle, key: FoundKey): KeyObject | undefined {
  const publicKeys = () =>
    find(cryptoki, session, [
      { type: CKA.class, value: CKO.publicKey },
      { type: CKA.keyType, value: CKK.rsa },
      { type: CKA.id, value: Buffer.from(key.id, 'hex') },
    ]);
  for (const handle of [key.handle, ...publicKeys()]) {
    const n = attribute(cryptoki, session, { handle, type: CKA.modulus });
    const e = attribute(cryptoki, session, { handle, type: CKA.publicExponent });
    if (n === undefined || e === undefined) continue;
    const jwk = { kty: 'RSA', n: n.toString('base64url'), e: e.toString('base64url') };
    return createPublicKey({ key: jwk, format: 'jwk' });
  }
  return undefined;
}

/** 16 hexadecimal digits that stand for a public key. */
export function publicKeyHash(key: KeyObject): string {
  return createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('hex')
    .slice(0, 16);
}

/** @throws {CallFailure} when a key is there twice: which of the two wraps would be chance */
export function onlyOne(keys: readonly FoundKey[], what: string): FoundKey | undefined {
  const [key, second] = keys;
  if (second === undefined) return key;
  throw new CallFailure('internal', `${keys.length} keys have ${what}; give one of them another id`);
}
