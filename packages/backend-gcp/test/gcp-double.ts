import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createSecureServer, type IncomingHttpHeaders, type Http2Stream, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo, Server } from 'node:net';
import { protos } from '@google-cloud/kms';
import { onTestFinished, vi } from 'vitest';
import { crc32c } from '../src/crc32c.js';
import { CERTIFICATE } from './certificate.js';

const { CryptoKey, CryptoKeyVersion, DecryptResponse } = protos.google.cloud.kms.v1;

export const KEY = 'projects/p/locations/europe-west3/keyRings/r/cryptoKeys/k';
export const VERSION = `${KEY}/cryptoKeyVersions/1`;
export const LOCAL_KEY = new Uint8Array(32).fill(7);

/** What to answer to a call: a message, a gRPC status, or a page that Cloud KMS has not written. */
export type KmsAnswer =
  | { readonly message: Uint8Array }
  | { readonly status: number; readonly text: string }
  | { readonly httpStatus: number; readonly page: string };

/** A server on loopback that answers as Cloud KMS does: gRPC over HTTP/2 and TLS. */
export class KmsDouble {
  readonly endpoint: string;
  answer: (method: string) => KmsAnswer = good;

  private constructor(port: number) {
    this.endpoint = `localhost:${port}`;
  }

  static async start(): Promise<KmsDouble> {
    const server = createSecureServer(CERTIFICATE);
    const double = new KmsDouble(await listening(server));
    const streams = new Set<Http2Stream>();
    server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
      streams.add(stream);
      double.#serve(stream, headers[':path']?.split('/').at(-1) ?? '');
    });
    onTestFinished(() => {
      server.close();
      for (const { session } of streams) session?.destroy();
    });
    return double;
  }

  #serve(stream: ServerHttp2Stream, method: string): void {
    const answer = this.answer(method);
    if ('page' in answer) {
      stream.respond({ ':status': answer.httpStatus, 'content-type': 'text/html' });
      stream.end(answer.page);
      return;
    }
    const head = { ':status': 200, 'content-type': 'application/grpc' };
    if ('text' in answer) {
      // grpc/grpc, doc/PROTOCOL-HTTP2.md: printable ASCII but "%" stands for itself.
      const trailers = { 'grpc-status': String(answer.status), 'grpc-message': answer.text };
      stream.respond({ ...head, ...trailers }, { endStream: true });
      return;
    }
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(answer.message.length, 1);
    stream.respond(head, { waitForTrailers: true });
    stream.on('wantTrailers', () => {
      stream.sendTrailers({ 'grpc-status': '0' });
    });
    stream.end(Buffer.concat([prefix, answer.message]));
  }
}

/** As Cloud KMS answers when all is well. Nothing here is encrypted. */
export function good(method: string): KmsAnswer {
  if (method === 'GetCryptoKey') {
    const state = CryptoKeyVersion.CryptoKeyVersionState.ENABLED;
    return { message: CryptoKey.encode({ name: KEY, primary: { name: VERSION, state } }).finish() };
  }
  return {
    message: DecryptResponse.encode({ plaintext: LOCAL_KEY, plaintextCrc32c: { value: crc32c(LOCAL_KEY) } }).finish(),
  };
}

type HttpAnswer = (request: IncomingMessage, response: ServerResponse) => void;

/** The `host:port` of an HTTP server on loopback that answers as `answer` does. */
export async function httpServer(answer: HttpAnswer): Promise<string> {
  const server = createServer(answer);
  const port = await listening(server);
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return `127.0.0.1:${port}`;
}

/** As the metadata server of a machine answers to a request for a token; cloud.google.com/compute/docs/metadata/querying-metadata. */
export const token: HttpAnswer = ({ headers }, response) => {
  if (headers['metadata-flavor'] !== 'Google') {
    response.writeHead(403, { 'content-type': 'text/html' }).end('<html>missing header</html>');
    return;
  }
  response.writeHead(200, { 'metadata-flavor': 'Google', 'content-type': 'application/json' });
  response.end(JSON.stringify({ access_token: 'ya29.token', expires_in: 3_600, token_type: 'Bearer' }));
};

/** Lets a metadata server answer as `answer` does, for whoever looks for one in this test. */
export async function metadataServer(answer: HttpAnswer = token): Promise<void> {
  vi.stubEnv('GCE_METADATA_HOST', await httpServer(answer));
}

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}
