import { randomBytes } from 'node:crypto';
import { CallFailure } from './call-failure.js';
import { CKM, PARAMETER, type Mechanism } from './cryptoki.js';
import { held } from './held.js';
import type { Scheme } from './scheme.js';

const NONCE_LENGTH = 12;
const TAG_LENGTH = 16;

/**
 * AES-GCM in the token, with a nonce of ours: nonce (12 bytes) ‖ ciphertext ‖ tag (16 bytes).
 *
 * The parameters are those of version 2.40, all of them: without `tagBits` there would be no tag, and no error either.
 */
export const aesGcm: Scheme = {
  tag: 1,
  async wrap(plaintext, { cryptoki, session, keys, context }) {
    const nonce = randomBytes(NONCE_LENGTH);
    cryptoki.C_EncryptInit(session, mechanism(nonce, context), keys.key);
    const sealed = await held(plaintext, plaintext.length + TAG_LENGTH, (input, room) =>
      cryptoki.C_EncryptAsync(session, input, room),
    );
    if (sealed.length !== plaintext.length + TAG_LENGTH) {
      throw new CallFailure('internal', `the token made ${sealed.length} bytes of ${plaintext.length}: no whole tag`);
    }
    return Buffer.concat([nonce, sealed]);
  },
  async unwrap(wrapped, { cryptoki, session, keys, context }) {
    if (wrapped.length <= NONCE_LENGTH + TAG_LENGTH) throw new CallFailure('invalid-ciphertext', 'too short');
    const sealed = wrapped.subarray(NONCE_LENGTH);
    cryptoki.C_DecryptInit(session, mechanism(wrapped.subarray(0, NONCE_LENGTH), context), keys.key);
    const plaintext = await held(sealed, sealed.length, (input, room) => cryptoki.C_DecryptAsync(session, input, room));
    if (plaintext.length !== sealed.length - TAG_LENGTH) {
      plaintext.fill(0);
      throw new CallFailure('internal', 'the token returned a plaintext of another length than the ciphertext has');
    }
    return plaintext;
  },
};

function mechanism(nonce: Uint8Array, context: Uint8Array): Mechanism {
  return {
    mechanism: CKM.aesGcm,
    parameter: {
      type: PARAMETER.aesGcm240,
      iv: Buffer.from(nonce),
      aad: Buffer.from(context),
      ivBits: NONCE_LENGTH * 8,
      tagBits: TAG_LENGTH * 8,
    },
  };
}
