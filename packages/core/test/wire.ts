/** Protobuf's wire format by hand, canonical or not, so that tests can say what no encoder would. */

export type Bytes = Uint8Array;

export const VARINT = 0;
export const FIXED64 = 1;
export const LEN = 2;
export const GROUP_START = 3;
export const GROUP_END = 4;
export const FIXED32 = 5;

/** @param length - how many bytes to spend; more than needed is legal for a decoder and never canonical */
export function varint(value: number, length = 1): Bytes {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80 || bytes.length < length - 1) {
    bytes.push((rest & 0x7f) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  return Uint8Array.from([...bytes, rest]);
}

export function concat(...parts: readonly Bytes[]): Bytes {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

export function tag(field: number, wireType: number): Bytes {
  return varint(field * 8 + wireType);
}

/** A length-delimited field. */
export function field(number: number, content: Bytes | string): Bytes {
  const bytes = typeof content === 'string' ? utf8(content) : content;
  return concat(tag(number, LEN), varint(bytes.length), bytes);
}

export function utf8(text: string): Bytes {
  return new TextEncoder().encode(text);
}

export function hex(bytes: Bytes): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');
}

export function fromHex(text: string): Bytes {
  return Uint8Array.from(Buffer.from(text, 'hex'));
}
