import { connect as connectHttp2, constants, type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';
import { connect } from 'node:net';
import {
  DecryptRequest,
  DecryptResponse,
  EncryptRequest,
  EncryptResponse,
  StatusRequest,
  StatusResponse,
} from '../src/gen/kms/v2/kms.js';

const { HTTP2_HEADER_METHOD, HTTP2_HEADER_PATH } = constants;

/** How a call ended: `status` is the number in `grpc-status`. */
export interface RpcAnswer {
  readonly status: number;
  readonly message: string;
  readonly response: Uint8Array | undefined;
}

/** A call whose message may be sent in pieces, or never. */
export interface OpenRpc {
  readonly stream: ClientHttp2Stream;
  readonly answer: Promise<RpcAnswer>;
}

/** gRPC over HTTP/2 by hand: it can send what no client library would, and names in full what comes back. */
export class RpcConnection {
  readonly session: ClientHttp2Session;

  private constructor(session: ClientHttp2Session) {
    this.session = session;
    // A plugin that ends takes the connection with it; the calls say so themselves.
    session.on('error', () => undefined);
  }

  /** Connects; resolves when the server has told its settings. */
  static async open(socketPath: string): Promise<RpcConnection> {
    const session = connectHttp2('http://localhost', { createConnection: () => connect(socketPath) });
    await new Promise<void>((resolve, reject) => {
      session.once('remoteSettings', () => {
        resolve();
      });
      session.once('error', reject);
    });
    return new RpcConnection(session);
  }

  /** Begins a call; nothing of its message is sent yet. */
  begin(method: string, headers: Readonly<Record<string, string>> = {}): OpenRpc {
    const stream = this.session.request({
      [HTTP2_HEADER_METHOD]: 'POST',
      [HTTP2_HEADER_PATH]: method.startsWith('/') ? method : `/v2.KeyManagementService/${method}`,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
    });
    return { stream, answer: collect(stream) };
  }

  async call(method: string, message: Uint8Array, headers: Readonly<Record<string, string>> = {}): Promise<RpcAnswer> {
    const { stream, answer } = this.begin(method, headers);
    stream.end(frame(message));
    return answer;
  }

  async status(): Promise<StatusResponse> {
    return StatusResponse.decode(await this.#ok('Status', StatusRequest.encode({}).finish()));
  }

  async encrypt(plaintext: Uint8Array, uid = 'test'): Promise<EncryptResponse> {
    const request = EncryptRequest.encode({ plaintext: Buffer.from(plaintext), uid }).finish();
    return EncryptResponse.decode(await this.#ok('Encrypt', request));
  }

  async decrypt(sealed: EncryptResponse, uid = 'test'): Promise<Uint8Array> {
    return DecryptResponse.decode(await this.#ok('Decrypt', decryptRequest(sealed, uid))).plaintext;
  }

  close(): void {
    this.session.destroy();
  }

  async #ok(method: string, message: Uint8Array): Promise<Uint8Array> {
    const { status, message: text, response } = await this.call(method, message);
    if (status !== 0 || response === undefined) throw new Error(`${method}: ${status}: ${text}`);
    return response;
  }
}

export function decryptRequest({ ciphertext, keyId, annotations }: EncryptResponse, uid = 'test'): Uint8Array {
  return DecryptRequest.encode({ ciphertext, keyId, annotations, uid }).finish();
}

/** One message as gRPC frames it: a flag, four bytes of length, the bytes. */
export function frame(message: Uint8Array, { compressed = false } = {}): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(Number(compressed));
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

function collect(stream: ClientHttp2Stream): Promise<RpcAnswer> {
  const answer = new Promise<RpcAnswer>((resolve, reject) => {
    const chunks: Buffer[] = [];
    let status: string | undefined;
    let message = '';
    const read = (headers: Record<string, unknown>) => {
      if (typeof headers['grpc-status'] === 'string') status = headers['grpc-status'];
      if (typeof headers['grpc-message'] === 'string') message = decodeURIComponent(headers['grpc-message']);
    };
    stream.on('response', read);
    stream.on('trailers', read);
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('error', reject);
    // The server's side is over; ours may still be open. No reset for nothing: of too many of them the server makes an end.
    stream.on('end', () => {
      if (!stream.writableEnded) stream.close();
    });
    stream.on('close', () => {
      const body = Buffer.concat(chunks);
      if (status === undefined) reject(new Error(`the stream ended without a status, code ${stream.rstCode}`));
      else resolve({ status: Number(status), message, response: body.length >= 5 ? body.subarray(5) : undefined });
    });
  });
  // Whoever begins a call to leave it unfinished does not look at its end.
  answer.catch(() => undefined);
  return answer;
}
