/**
 * The floor of the platform: what Node must do for a call and nothing else. Bare node:http2, gRPC's framing and the protobuf fields written out
 * by hand, one AES-256-GCM per Encrypt and Decrypt as Sealwax does it.
 *
 * No check of what callers send, no metrics, no log, no limit: a server to compare with, not to run.
 *
 * `node reference.js SOCKET [FLAG…]`: V8's flags, set once it listens as Sealwax does
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { createServer, type ServerHttp2Stream } from 'node:http2';
import { setFlagsFromString } from 'node:v8';

const nonceLength = 12;
const tagLength = 16;
/** A frame of gRPC: one byte for "compressed", four for the length. */
const frameHeaderLength = 5;
const sealKey = randomBytes(32);
const keyId = 'reference';
/** As many bytes as the annotation of a Sealwax with one local key. */
const annotation = randomBytes(160);
const aad = Buffer.concat([annotation, Buffer.from(keyId)]);

const annotations = field(
  3,
  Buffer.concat([field(1, Buffer.from('envelope.reference.internal')), field(2, annotation)]),
);
const statusResponse = frame(
  Buffer.concat([field(1, Buffer.from('v2')), field(2, Buffer.from('ok')), field(3, Buffer.from(keyId))]),
);
const keyIdField = field(2, Buffer.from(keyId));

function varint(value: number): Buffer {
  return value < 0x80 ? Buffer.of(value) : Buffer.of((value & 0x7f) | 0x80, value >> 7);
}

/** A length-delimited field of fewer than 16384 bytes. */
function field(number: number, bytes: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of((number << 3) | 2), varint(bytes.length), bytes]);
}

function frame(message: Buffer): Buffer {
  const framed = Buffer.allocUnsafe(frameHeaderLength + message.length);
  framed.writeUInt8(0, 0);
  framed.writeUInt32BE(message.length, 1);
  message.copy(framed, frameHeaderLength);
  return framed;
}

/** Field 1 of a request, which comes first: the plaintext or the ciphertext. */
function firstField(request: Buffer): Buffer {
  const start = frameHeaderLength + 1;
  const low = request.readUInt8(start);
  return low < 0x80
    ? request.subarray(start + 1, start + 1 + low)
    : request.subarray(start + 2, start + 2 + (low & 0x7f) + (request.readUInt8(start + 1) << 7));
}

function encrypt(request: Buffer): Buffer {
  const nonce = randomBytes(nonceLength);
  const cipher = createCipheriv('aes-256-gcm', sealKey, nonce);
  cipher.setAAD(aad);
  const ciphertext = Buffer.concat([nonce, cipher.update(firstField(request)), cipher.final(), cipher.getAuthTag()]);
  return frame(Buffer.concat([field(1, ciphertext), keyIdField, annotations]));
}

function decrypt(request: Buffer): Buffer {
  const sealed = firstField(request);
  const decipher = createDecipheriv('aes-256-gcm', sealKey, sealed.subarray(0, nonceLength));
  decipher.setAAD(aad);
  decipher.setAuthTag(sealed.subarray(-tagLength));
  const seed = Buffer.concat([decipher.update(sealed.subarray(nonceLength, -tagLength)), decipher.final()]);
  return frame(field(1, seed));
}

function answer(path: string | undefined, request: Buffer): Buffer {
  if (path === '/v2.KeyManagementService/Status') return statusResponse;
  if (path === '/v2.KeyManagementService/Encrypt') return encrypt(request);
  if (path === '/v2.KeyManagementService/Decrypt') return decrypt(request);
  throw new Error(`no method ${String(path)}`);
}

function serve(stream: ServerHttp2Stream, path: string | undefined): void {
  const pieces: Buffer[] = [];
  stream.on('data', (piece: Buffer) => pieces.push(piece));
  stream.on('end', () => {
    const [first] = pieces;
    const response = answer(path, pieces.length === 1 && first !== undefined ? first : Buffer.concat(pieces));
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => {
      stream.sendTrailers({ 'grpc-status': '0' });
    });
    stream.end(response);
  });
  stream.on('error', () => undefined);
}

const server = createServer();
server.on('stream', (stream, headers) => {
  serve(stream, headers[':path']);
});
const [, , socket = '', ...flags] = process.argv;
rmSync(socket, { force: true });
server.listen(socket, () => {
  for (const flag of flags) setFlagsFromString(flag);
});
process.once('SIGTERM', () => process.exit(0));
