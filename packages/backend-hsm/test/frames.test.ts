import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readFrames, writeFrame, type Frame } from '../src/frames.js';

/** What arrives when `written` comes in pieces of these lengths. */
function receive(written: Uint8Array, pieces: readonly number[]): { frames: Frame[]; broken: string[] } {
  const pipe = new PassThrough();
  const frames: Frame[] = [];
  const broken: string[] = [];
  readFrames(
    pipe,
    (frame) => frames.push(frame),
    (reason) => broken.push(reason),
  );
  let start = 0;
  for (const length of [...pieces, written.length]) {
    pipe.emit('data', Buffer.from(written.subarray(start, start + length)));
    start += length;
  }
  return { frames, broken };
}

function sent(messages: readonly { readonly header: object; readonly bytes: Uint8Array }[]): Uint8Array {
  const pipe = new PassThrough();
  const chunks: Buffer[] = [];
  pipe.write = (chunk: unknown) => {
    chunks.push(Buffer.from(chunk as Buffer));
    return true;
  };
  for (const { header, bytes } of messages) writeFrame(pipe, header, bytes);
  return Buffer.concat(chunks);
}

test('frames arrive whole and in order, however the pipe cuts them', () => {
  const message = fc.record({
    header: fc.dictionary(fc.string(), fc.string()),
    bytes: fc.uint8Array({ maxLength: 50 }),
  });
  fc.assert(
    fc.property(fc.array(message, { maxLength: 5 }), fc.array(fc.nat(20), { maxLength: 30 }), (messages, pieces) => {
      const { frames, broken } = receive(sent(messages), pieces);
      expect(broken).toEqual([]);
      expect(frames.map(({ bytes }) => [...bytes])).toEqual(messages.map(({ bytes }) => [...bytes]));
      expect(frames.map(({ header }) => header)).toEqual(
        messages.map(({ header }) => JSON.parse(JSON.stringify(header)) as unknown),
      );
    }),
  );
});

test.each([
  ['a length beyond every message', [0xff, 0, 0, 0, 0, 0, 0, 1, 0]],
  ['a header longer than its frame', [0, 0, 0, 8, 0, 0, 0, 9, 1, 2, 3, 4]],
  ['a header that is no JSON', [0, 0, 0, 5, 0, 0, 0, 1, 0x7b]],
])('%s ends the reading', (_, bytes) => {
  const { frames, broken } = receive(Uint8Array.from(bytes), []);
  expect(frames).toEqual([]);
  expect(broken).toHaveLength(1);
});

test('chunks are overwritten once they are taken apart', () => {
  const pipe = new PassThrough();
  readFrames(
    pipe,
    () => undefined,
    () => undefined,
  );
  const chunk = Buffer.from(sent([{ header: {}, bytes: Uint8Array.from([7, 7, 7]) }]));
  pipe.emit('data', chunk);
  expect(chunk.every((byte) => byte === 0)).toBe(true);
});
