/** Concatenates `parts`, each behind its length in bytes as a 32-bit big-endian integer, so that no two lists give the same bytes. */
export function lengthPrefixed(parts: readonly Uint8Array[]): Uint8Array {
  const joined = Buffer.alloc(parts.reduce((sum, part) => sum + 4 + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    offset = joined.writeUInt32BE(part.length, offset);
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}
