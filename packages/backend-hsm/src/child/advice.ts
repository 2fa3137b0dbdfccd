import type { TokenSettings } from '../protocol.js';
import { CKA, type Cryptoki, type Handle } from './cryptoki.js';
import { attribute, integer } from './key-search.js';
import type { Version } from './versions.js';

const STRONG_AES_BYTES = 32;
const STRONG_RSA_BITS = 3072;

/** What works and should be done otherwise. */
export function adviceFor(
  cryptoki: Cryptoki,
  session: Handle,
  { settings, version }: { settings: TokenSettings; version: Version },
): string[] {
  const flag = (type: number) => attribute(cryptoki, session, { handle: version.key, type })?.[0];
  const advice: string[] = [];
  if (flag(CKA.extractable) === 1 || flag(CKA.sensitive) === 0)
    advice.push('the key can be taken out of the token; make one that is sensitive and not extractable');
  const bytes = integer(attribute(cryptoki, session, { handle: version.key, type: CKA.valueLength }));
  if (version.publicKey === undefined && bytes !== undefined && bytes < STRONG_AES_BYTES)
    advice.push(`the key has ${bytes * 8} bits; make one of 256`);
  const bits = version.publicKey?.asymmetricKeyDetails?.modulusLength;
  if (bits !== undefined && bits < STRONG_RSA_BITS)
    advice.push(`the RSA key has ${bits} bits; make one of ${STRONG_RSA_BITS}`);
  if (settings.mechanism === 'rsa-oaep') {
    advice.push(
      'with RSA wrapping, whoever can read the public key can make data that this plugin takes for its own; AES in the token does not have this weakness',
    );
  }
  if (settings.fingerprint === 'none')
    advice.push(
      'fingerprint is none: a key that is replaced beneath its label and id will not be noticed by its KEK id',
    );
  return advice;
}
