import { readFileSync } from 'node:fs';
import { fromHex } from './wire.js';

/** One frozen vector; bytes are in hexadecimal. */
interface VectorText {
  readonly name: string;
  readonly localKey: string;
  readonly sealKey: string;
  readonly commitment: string;
  readonly cluster: string;
  readonly generation: number;
  readonly writer: string;
  readonly records: readonly { readonly keyName: string; readonly kekId: string; readonly ciphertext: string }[];
  readonly annotation: string;
  readonly keyIdHashInput: string;
  readonly keyIdHash: string;
  readonly keyId: string;
  readonly aad: string;
  readonly nonce: string;
  readonly seed: string;
  readonly ciphertext: string;
}

const file = JSON.parse(readFileSync(new URL('vectors/envelope-1.json', import.meta.url), 'utf8')) as {
  readonly format: number;
  readonly annotationName: string;
  readonly vectors: readonly VectorText[];
};

export const vectorFormat = file.format;
export const vectorAnnotationName = file.annotationName;

/** The frozen vectors of envelope format 1, as text and as bytes. */
export const vectors = file.vectors.map((text) => ({
  ...text,
  text,
  localKey: fromHex(text.localKey),
  sealKey: fromHex(text.sealKey),
  commitment: fromHex(text.commitment),
  records: text.records.map((record) => ({ ...record, ciphertext: fromHex(record.ciphertext) })),
  annotation: fromHex(text.annotation),
  keyIdHashInput: fromHex(text.keyIdHashInput),
  keyIdHash: fromHex(text.keyIdHash),
  aad: fromHex(text.aad),
  nonce: fromHex(text.nonce),
  seed: fromHex(text.seed),
  ciphertext: fromHex(text.ciphertext),
}));

export type Vector = (typeof vectors)[number];
