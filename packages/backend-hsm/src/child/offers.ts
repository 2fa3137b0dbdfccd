import { MECHANISMS, type MechanismName } from '../config.js';
import type { TokenSettings } from '../protocol.js';
import { CKA, CKM, type Cryptoki, type Handle } from './cryptoki.js';
import { attribute, findKeys, kindOf, type FoundKey } from './key-search.js';

const NUMBERS: Readonly<Record<MechanismName, readonly number[]>> = {
  'aes-gcm': [CKM.aesGcm],
  'aes-cbc-hmac': [CKM.aesCbc, CKM.sha256Hmac],
  'rsa-oaep': [CKM.rsaPkcsOaep],
  'aes-key-wrap-pad': [CKM.aesKeyWrapPad],
};

/** What a key has to be allowed to do. */
const RIGHTS: Readonly<Record<MechanismName, readonly number[]>> = {
  'aes-gcm': [CKA.encrypt, CKA.decrypt],
  'aes-cbc-hmac': [CKA.encrypt, CKA.decrypt],
  'rsa-oaep': [CKA.decrypt],
  'aes-key-wrap-pad': [CKA.wrap, CKA.unwrap],
};

/** The best first: those that authenticate with one key, then with two, then key wrap, then what anybody with the public key can make. */
const PREFERENCE: readonly MechanismName[] = ['aes-gcm', 'aes-cbc-hmac', 'aes-key-wrap-pad', 'rsa-oaep'];

/** The mechanisms that the token has, by what it says. */
export function offered(cryptoki: Cryptoki, slot: Handle): MechanismName[] {
  const numbers = new Set(cryptoki.C_GetMechanismList(slot).map(Number));
  return MECHANISMS.filter((name) => NUMBERS[name].every((number) => numbers.has(number)));
}

/** The mechanisms that `key` can serve, the best first, by what its attributes say. */
export function served(
  cryptoki: Cryptoki,
  session: Handle,
  { key, kind, offers }: { key: FoundKey; kind: 'aes' | 'rsa'; offers: readonly MechanismName[] },
): MechanismName[] {
  const macKeys = () => findKeys(cryptoki, session, { kind: 'mac', label: undefined, id: key.id });
  return PREFERENCE.filter(
    (name) =>
      offers.includes(name) &&
      kindOf(name) === kind &&
      RIGHTS[name].every((right) => attribute(cryptoki, session, { handle: key.handle, type: right })?.[0] === 1) &&
      (name !== 'aes-cbc-hmac' || macKeys().some(({ id }) => id !== '' && id === key.id)),
  );
}

/** What the config may say instead of the mechanism that it lacks, or that the token lacks. */
export function proposals(
  cryptoki: Cryptoki,
  place: { session: Handle; slot: Handle },
  settings: TokenSettings,
): string {
  const { session, slot } = place;
  const offers = offered(cryptoki, slot);
  const fitting = (['aes', 'rsa'] as const).flatMap((kind) =>
    findKeys(cryptoki, session, { kind, ...settings.key }).flatMap((key) =>
      served(cryptoki, session, { key, kind, offers }),
    ),
  );
  const names = PREFERENCE.filter((name) => fitting.includes(name));
  if (names.length === 0) return 'no key of this label and id can serve any; see `sealwax hsm list`';
  return `this key can serve: ${names.join(', ')}; the first is the best`;
}
