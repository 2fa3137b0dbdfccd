import { randomBytes, timingSafeEqual } from 'node:crypto';
import { CallFailure } from './call-failure.js';
import { CKM, type Cryptoki, type Handle } from './cryptoki.js';
import { held } from './held.js';
import type { Scheme, VersionKeys } from './scheme.js';

const BLOCK_LENGTH = 16;
const MAC_LENGTH = 32;

/**
 * AES-CBC, then HMAC-SHA-256 with a second key of the token: IV (16 bytes) ‖ ciphertext ‖ MAC (32 bytes).
 *
 * The MAC covers the length of the context (4 bytes, big-endian) ‖ context ‖ IV ‖ ciphertext and is verified before anything is decrypted.
 * The padding (PKCS #7) is ours: one module answers CKR_OK to a bad one, another fails on whole blocks.
 */
export const aesCbcHmac: Scheme = {
  tag: 2,
  async wrap(plaintext, { cryptoki, session, keys, context }) {
    const iv = randomBytes(BLOCK_LENGTH);
    const encrypted = await cbcEncrypt(padded(plaintext), { cryptoki, session, key: keys.key, iv });
    const body = Buffer.concat([iv, encrypted]);
    return Buffer.concat([body, await mac(body, { cryptoki, session, key: macKeyOf(keys), context })]);
  },
  async unwrap(wrapped, { cryptoki, session, keys, context }) {
    const encryptedLength = wrapped.length - BLOCK_LENGTH - MAC_LENGTH;
    if (encryptedLength < BLOCK_LENGTH || encryptedLength % BLOCK_LENGTH !== 0)
      throw new CallFailure('invalid-ciphertext', 'a length that no wrapped key has');
    const body = wrapped.subarray(0, -MAC_LENGTH);
    const expected = await mac(body, { cryptoki, session, key: macKeyOf(keys), context });
    if (!timingSafeEqual(expected, wrapped.subarray(-MAC_LENGTH)))
      throw new CallFailure('invalid-ciphertext', 'authentication failed');
    cryptoki.C_DecryptInit(
      session,
      { mechanism: CKM.aesCbc, parameter: Buffer.from(body.subarray(0, BLOCK_LENGTH)) },
      keys.key,
    );
    const encrypted = body.subarray(BLOCK_LENGTH);
    const blocks = await held(encrypted, encrypted.length, (input, room) =>
      cryptoki.C_DecryptAsync(session, input, room),
    );
    try {
      return unpadded(blocks);
    } finally {
      blocks.fill(0);
    }
  },
};

/** One pass of CBC without padding; `blocks` is overwritten. */
export async function cbcEncrypt(
  blocks: Uint8Array,
  { cryptoki, session, key, iv }: { cryptoki: Cryptoki; session: Handle; key: Handle; iv: Uint8Array },
): Promise<Uint8Array> {
  cryptoki.C_EncryptInit(session, { mechanism: CKM.aesCbc, parameter: Buffer.from(iv) }, key);
  try {
    const encrypted = await held(blocks, blocks.length, (input, room) => cryptoki.C_EncryptAsync(session, input, room));
    if (encrypted.length === blocks.length) return encrypted;
    throw new CallFailure('internal', `the token made ${encrypted.length} bytes of ${blocks.length}`);
  } finally {
    blocks.fill(0);
  }
}

async function mac(
  body: Uint8Array,
  { cryptoki, session, key, context }: { cryptoki: Cryptoki; session: Handle; key: Handle; context: Uint8Array },
): Promise<Uint8Array> {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(context.length);
  cryptoki.C_SignInit(session, { mechanism: CKM.sha256Hmac }, key);
  const made = await held(Buffer.concat([length, context, body]), MAC_LENGTH, (input, room) =>
    cryptoki.C_SignAsync(session, input, room),
  );
  if (made.length === MAC_LENGTH) return made;
  throw new CallFailure('internal', `the token made a MAC of ${made.length} bytes`);
}

function macKeyOf({ macKey }: VersionKeys): Handle {
  if (macKey === undefined) throw new CallFailure('key-not-found', 'there is no MAC key with the id of the key');
  return macKey;
}

function padded(plaintext: Uint8Array): Uint8Array {
  const padding = BLOCK_LENGTH - (plaintext.length % BLOCK_LENGTH);
  const blocks = new Uint8Array(plaintext.length + padding).fill(padding);
  blocks.set(plaintext);
  return blocks;
}

function unpadded(blocks: Uint8Array): Uint8Array {
  const padding = blocks.at(-1) ?? 0;
  // The MAC was good: a bad padding is no tampering but another AES key, or a token that decrypts wrongly.
  if (padding < 1 || padding > BLOCK_LENGTH || !blocks.subarray(-padding).every((byte) => byte === padding))
    throw new CallFailure('internal', 'the token decrypted to a bad padding: not the AES key that wrapped');
  return Uint8Array.from(blocks.subarray(0, -padding));
}
