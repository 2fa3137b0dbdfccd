import { constants, publicEncrypt, timingSafeEqual } from 'node:crypto';
import type { HashName } from '../config.js';
import { CallFailure } from './call-failure.js';
import { CKG_MGF1, CKM, PARAMETER } from './cryptoki.js';
import { held } from './held.js';
import type { Scheme, SchemeInput } from './scheme.js';

const TAGS = { sha1: 0x31, sha256: 0x32, sha384: 0x33, sha512: 0x34 } as const;

/**
 * RSA-OAEP: encrypted here with the exported public key, because several tokens cannot, and decrypted in the token.
 *
 * Nothing authenticates who wrapped: whoever can read the public key can make a wrapped key of his own. The label of OAEP stays empty
 * because tokens do not take one.
 */
export function rsaOaep(hash: HashName): Scheme {
  const unwrap = async (wrapped: Uint8Array, { cryptoki, session, keys }: SchemeInput): Promise<Uint8Array> => {
    cryptoki.C_DecryptInit(
      session,
      {
        mechanism: CKM.rsaPkcsOaep,
        parameter: { type: PARAMETER.rsaOaep, hashAlg: CKM[hash], mgf: CKG_MGF1[hash], source: 1 },
      },
      keys.key,
    );
    return held(wrapped, wrapped.length, (input, room) => cryptoki.C_DecryptAsync(session, input, room));
  };
  return {
    tag: TAGS[hash],
    async wrap(plaintext, input) {
      const { publicKey: key } = input.keys;
      if (key === undefined) throw new CallFailure('key-not-found', 'the token does not show the public key');
      const wrapped = publicEncrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: hash }, plaintext);
      // No part of the token took part so far. This is what notices one that is gone, or that has lost the private half.
      const again = await unwrap(wrapped, input);
      const same = again.length === plaintext.length && timingSafeEqual(again, plaintext);
      again.fill(0);
      if (!same) throw new CallFailure('internal', 'the token decrypts to other bytes than the public key encrypted');
      return wrapped;
    },
    unwrap,
  };
}
