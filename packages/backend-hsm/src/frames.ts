/**
 * The pipe between server and child: frames of length (4 bytes, big-endian) ‖ length of the header (4) ‖ header (JSON) ‖ bytes.
 *
 * Keys and PINs travel as bytes and never in the header: bytes can be overwritten when they have been used, strings cannot. That is
 * why this is not Node's own channel between processes.
 */
import type { Duplex } from 'node:stream';

const LENGTHS = 8;
/** More than any message has: the longest is the list of a token with thousands of keys. */
const MAX_FRAME = 16 * 1024 * 1024;

export interface Frame {
  readonly header: unknown;
  /** The receiver's own copy, to be overwritten by him. */
  readonly bytes: Uint8Array;
}

/** Writes one frame; `bytes` may be overwritten as soon as this returns. */
export function writeFrame(pipe: Duplex, header: object, bytes: Uint8Array = new Uint8Array()): void {
  const text = Buffer.from(JSON.stringify(header));
  const frame = Buffer.alloc(LENGTHS + text.length + bytes.length);
  frame.writeUInt32BE(4 + text.length + bytes.length, 0);
  frame.writeUInt32BE(text.length, 4);
  frame.set(text, LENGTHS);
  frame.set(bytes, LENGTHS + text.length);
  pipe.write(frame, () => {
    frame.fill(0);
  });
}

/**
 * Calls `onFrame` for each frame that arrives on `pipe`. Chunks are overwritten once they are taken apart.
 *
 * @param onBroken - gets what is wrong with a frame that cannot be read; nothing is read after it
 */
export function readFrames(pipe: Duplex, onFrame: (frame: Frame) => void, onBroken: (reason: string) => void): void {
  let held: Buffer = Buffer.alloc(0);
  let broken = false;
  pipe.on('data', (chunk: Buffer) => {
    if (broken) return;
    const before = held;
    held = Buffer.concat([before, chunk]);
    before.fill(0);
    chunk.fill(0);
    while (held.length >= LENGTHS) {
      const length = held.readUInt32BE(0);
      const headerLength = held.readUInt32BE(4);
      if (length > MAX_FRAME || headerLength + 4 > length) {
        broken = true;
        onBroken('a frame with impossible lengths');
        return;
      }
      if (held.length < 4 + length) return;
      const bytes = Uint8Array.from(held.subarray(LENGTHS + headerLength, 4 + length));
      const text = held.toString('utf8', LENGTHS, LENGTHS + headerLength);
      held.fill(0, 0, 4 + length);
      held = held.subarray(4 + length);
      let header: unknown;
      try {
        header = JSON.parse(text);
      } catch {
        broken = true;
        onBroken('a header that is no JSON');
        return;
      }
      onFrame({ header, bytes });
    }
  });
}
