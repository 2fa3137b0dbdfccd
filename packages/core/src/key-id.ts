import { createHash } from 'node:crypto';
import { compareNames } from './envelope.js';
import { lengthPrefixed } from './length-prefixed.js';

const DOMAIN = 'sealwax/key-id';
const HASH_LENGTH = 26; // characters of base32: 130 bits
const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567'; // RFC 4648 §6, in lower case

/** What the key id names. */
export interface KeyIdInput {
  /** Format byte of the envelope. */
  readonly format: number;
  readonly cluster: string;
  /** From the config; raised to force a new id. Below 2^53. */
  readonly generation: number;
  /** Name of the key that writes. */
  readonly writer: string;
  readonly records: readonly { readonly keyName: string; readonly kekId: string }[];
}

/**
 * `<writer>:<26 characters of base32>`: names the set of (key, KEK id) that wraps the local key in use.
 *
 * It depends on config and KMS state alone, so every node reports the same, before and after a restart.
 * docs/envelope.md gives the bytes that are hashed.
 */
export function computeKeyId({ format, cluster, generation, writer, records }: KeyIdInput): string {
  const generationBytes = Buffer.alloc(8);
  generationBytes.writeBigUInt64BE(BigInt(generation));
  const sorted = records.toSorted((a, b) => compareNames(a.keyName, b.keyName));
  const hash = createHash('sha256')
    .update(
      lengthPrefixed([
        Buffer.from(DOMAIN),
        Uint8Array.of(format),
        Buffer.from(cluster),
        generationBytes,
        ...sorted.flatMap(({ keyName, kekId }) => [Buffer.from(keyName), Buffer.from(kekId)]),
      ]),
    )
    .digest();
  return `${writer}:${base32(hash).slice(0, HASH_LENGTH)}`;
}

function base32(bytes: Uint8Array): string {
  const bits = Array.from(bytes, (byte) => byte.toString(2).padStart(8, '0')).join('');
  return (bits.match(/.{5}/g) ?? []).map((five) => BASE32.charAt(parseInt(five, 2))).join('');
}
