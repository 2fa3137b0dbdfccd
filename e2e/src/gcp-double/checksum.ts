/**
 * CRC32C, bit by bit, as RFC 3720 §12.1 and appendix B.4 describe it: cloud.google.com/kms/docs/data-integrity-guidelines asks for it.
 */
export function castagnoli(bytes: Uint8Array): number {
  let register = 0xffffffff;
  for (const byte of bytes) {
    register ^= byte;
    for (let bit = 0; bit < 8; bit += 1) register = (register >>> 1) ^ ((register & 1) === 0 ? 0 : 0x82f63b78);
  }
  return ~register >>> 0;
}
