import { CallFailure } from './call-failure.js';
import { CKA, CKK, CKM, CKO, type Handle, type Template } from './cryptoki.js';
import { held } from './held.js';
import type { Scheme, SchemeInput } from './scheme.js';

const MECHANISM = { mechanism: CKM.aesKeyWrapPad } as const;
const MAX_LENGTH = 1024;

/**
 * C_WrapKey and C_UnwrapKey with AES key wrap. What is wrapped has to be an object of the token: the plaintext becomes one that lives as
 * long as its session, at most, and is destroyed after the call.
 *
 * It is authenticated by the 64 or 32 check bits of RFC 3394 and RFC 5649, without a context.
 *
 * @see RFC 5649
 */
export const aesKeyWrapPad: Scheme = {
  tag: 4,
  async wrap(plaintext, { cryptoki, session, keys }) {
    const value = Buffer.alloc(plaintext.length);
    value.set(plaintext);
    const secret = cryptoki.C_CreateObject(session, [
      ...objectTemplate(),
      { type: CKA.class, value: CKO.secretKey },
      { type: CKA.value, value },
    ]);
    value.fill(0);
    try {
      return await held(new Uint8Array(), plaintext.length, (_, room) =>
        cryptoki.C_WrapKeyAsync(session, MECHANISM, keys.key, secret, room),
      );
    } finally {
      cryptoki.C_DestroyObject(session, secret);
    }
  },
  async unwrap(wrapped, input) {
    if (wrapped.length > MAX_LENGTH) throw new CallFailure('invalid-ciphertext', 'too long');
    const { cryptoki, session, keys } = input;
    const template = [{ type: CKA.class, value: CKO.secretKey }, ...objectTemplate()];
    const secret = await held(wrapped, 0, (bytes) =>
      cryptoki.C_UnwrapKeyAsync(session, MECHANISM, keys.key, bytes, template),
    );
    return takeValue(Buffer.from(secret), input);
  },
};

function takeValue(secret: Handle, { cryptoki, session }: SchemeInput): Uint8Array {
  try {
    const [attribute] = cryptoki.C_GetAttributeValue(session, secret, [{ type: CKA.value }]);
    if (attribute === undefined) throw new CallFailure('internal', 'the unwrapped key has no value');
    const value = Uint8Array.from(attribute.value);
    attribute.value.fill(0);
    return value;
  } finally {
    cryptoki.C_DestroyObject(session, secret);
  }
}

function objectTemplate(): Template {
  return [
    { type: CKA.keyType, value: CKK.genericSecret },
    { type: CKA.token, value: false },
    { type: CKA.private, value: true },
    { type: CKA.sensitive, value: false },
    { type: CKA.extractable, value: true },
  ];
}
