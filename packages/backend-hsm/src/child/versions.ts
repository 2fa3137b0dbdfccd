import { formatKekId, type KekName } from '../kek-id.js';
import type { TokenSettings } from '../protocol.js';
import { CallFailure } from './call-failure.js';
import type { Cryptoki, Handle } from './cryptoki.js';
import { fingerprintOf } from './fingerprint.js';
import { findKeys, kindOf, onlyOne, publicKeyOf, type FoundKey } from './key-search.js';
import type { VersionKeys } from './scheme.js';

/** One version of the KEK, found in the token. */
export interface Version extends VersionKeys {
  readonly name: KekName;
  readonly kekId: string;
}

interface Place {
  readonly cryptoki: Cryptoki;
  readonly session: Handle;
}

type KekSettings = Pick<TokenSettings, 'key' | 'macKeyLabel' | 'current' | 'fingerprint'> & {
  readonly mechanism: NonNullable<TokenSettings['mechanism']>;
};

/**
 * The version that wraps: the one with the id that the config names, or the one with the highest id, as a number.
 *
 * PKCS #11 does not tell when a key was made, so "newest" has to be something that the owner of the keys decides.
 *
 * @throws {CallFailure} `key-not-found`
 */
export async function findCurrent(place: Place, settings: KekSettings): Promise<Version> {
  const { key, current } = settings;
  const id = current === 'newest' ? key.id : current;
  const found = findKeys(place.cryptoki, place.session, { kind: kindOf(settings.mechanism), label: key.label, id });
  const [first, ...rest] = found;
  if (first === undefined) throw new CallFailure('key-not-found', 'the token has no such key');
  const newest = rest.reduce((best, other) => (compareIds(other.id, best.id) > 0 ? other : best), first);
  return describe(place, settings, { found, key: newest });
}

/** The version that a KEK id names; `undefined` when the token has none with its label and id. */
export async function findVersion(place: Place, settings: KekSettings, name: KekName): Promise<Version | undefined> {
  const { label, id } = name;
  // An empty id is no attribute value to search by.
  const all = findKeys(place.cryptoki, place.session, {
    kind: kindOf(settings.mechanism),
    label,
    id: id === '' ? undefined : id,
  });
  const found = all.filter((key) => key.id === id);
  const [key] = found;
  return key === undefined ? undefined : describe(place, settings, { found, key, kind: kindOfFingerprint(name) });
}

async function describe(
  place: Place,
  settings: KekSettings,
  { found, key, kind }: { found: readonly FoundKey[]; key: FoundKey; kind?: 'spki' | 'kcv' | 'cbc' | undefined },
): Promise<Version> {
  const what = `the label ${key.label} and the id ${key.id === '' ? '(none)' : key.id}`;
  onlyOne(
    found.filter((other) => other.id === key.id && other.label === key.label),
    what,
  );
  const keys: VersionKeys = {
    key: key.handle,
    macKey: settings.mechanism === 'aes-cbc-hmac' ? macKeyOf(place, settings, key) : undefined,
    publicKey: settings.mechanism === 'rsa-oaep' ? publicKeyOf(place.cryptoki, place.session, key) : undefined,
  };
  const input = { ...place, keys, context: new Uint8Array() };
  const fingerprint = settings.fingerprint === 'none' ? 'none' : await fingerprintOf(input, kind);
  if (fingerprint === undefined && kind === undefined) {
    throw new CallFailure(
      'config',
      'must be none: this token gives neither a check value nor lets the key make one, so a replaced key will not be noticed',
      { path: 'fingerprint' },
    );
  }
  const name = { label: key.label, id: key.id, fingerprint: fingerprint ?? 'none' };
  return { ...keys, name, kekId: formatKekId(name) };
}

function macKeyOf({ cryptoki, session }: Place, { key, macKeyLabel }: KekSettings, aesKey: FoundKey): Handle {
  const label = macKeyLabel ?? key.label ?? aesKey.label;
  // Without an id there is nothing to tell by which MAC key belongs to which version.
  const found = findKeys(cryptoki, session, { kind: 'mac', label, id: aesKey.id === '' ? undefined : aesKey.id });
  const what = `the label ${label} and the id ${aesKey.id}, for MACs`;
  const macKey = onlyOne(
    found.filter(({ id }) => id === aesKey.id),
    what,
  );
  if (macKey === undefined) throw new CallFailure('key-not-found', `the token has no key with ${what}`);
  return macKey.handle;
}

function kindOfFingerprint({ fingerprint }: KekName): 'spki' | 'kcv' | 'cbc' | undefined {
  const [kind] = fingerprint.split(':');
  return kind === 'spki' || kind === 'kcv' || kind === 'cbc' ? kind : undefined;
}

/** As numbers, whatever their lengths; leading zeros decide last, so that the order is total. */
function compareIds(left: string, right: string): number {
  const [a, b] = [BigInt(`0x0${left}`), BigInt(`0x0${right}`)];
  if (a !== b) return a > b ? 1 : -1;
  return left.length - right.length;
}
