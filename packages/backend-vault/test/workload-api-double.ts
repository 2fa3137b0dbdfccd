import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { Server, ServerCredentials, status, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js';
import { onTestFinished } from 'vitest';

export interface JwtSvidRequest {
  readonly audience: string[];
  readonly spiffeId: string;
}

type Answer = Uint8Array | { readonly code: status; readonly details: string };
type Handler = (request: JwtSvidRequest) => Answer | Promise<Answer>;

/** A path for a socket, in a directory that goes with the test. */
export async function socketPath(): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), 'sealwax-spiffe-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  return path.join(directory, 'agent.sock');
}

/** A Workload API with `FetchJWTSVID` alone, which rejects whoever does not send the header, as it must (SPIFFE Workload Endpoint §6). */
export async function listen(socket: string, handler: Handler): Promise<void> {
  const server = new Server();
  const handle = (call: ServerUnaryCall<Buffer, Uint8Array>, callback: sendUnaryData<Uint8Array>) => {
    const [header] = call.metadata.get('workload.spiffe.io');
    if (header !== 'true') {
      callback({ code: status.INVALID_ARGUMENT, details: 'security header missing from request' });
      return;
    }
    void Promise.resolve(handler(decodeRequest(call.request))).then((answer) => {
      if (answer instanceof Uint8Array) callback(null, answer);
      else callback(answer);
    });
  };
  server.addService(
    {
      FetchJWTSVID: {
        path: '/SpiffeWorkloadAPI/FetchJWTSVID',
        requestStream: false,
        responseStream: false,
        requestSerialize: (bytes: Buffer) => bytes,
        requestDeserialize: (bytes: Buffer) => bytes,
        responseSerialize: (bytes: Uint8Array) => Buffer.from(bytes),
        responseDeserialize: (bytes: Buffer) => bytes,
      },
    },
    { FetchJWTSVID: handle },
  );
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
  onTestFinished(() => {
    server.forceShutdown();
  });
}

/** A `JWTSVIDResponse`, with the hint and a field that no version of the protocol has yet. */
export function svids(...jwts: readonly string[]): Uint8Array {
  const response = new BinaryWriter();
  jwts.forEach((jwt, index) => {
    response.tag(1, WireType.LengthDelimited).fork();
    response.tag(1, WireType.LengthDelimited).string(`spiffe://example.com/workload-${index}`);
    response.tag(2, WireType.LengthDelimited).string(jwt);
    response.tag(3, WireType.LengthDelimited).string('internal');
    response.tag(15, WireType.Varint).uint32(7);
    response.join();
  });
  response.tag(15, WireType.Varint).uint32(7);
  return response.finish();
}

function decodeRequest(bytes: Uint8Array): JwtSvidRequest {
  const reader = new BinaryReader(bytes);
  const request = { audience: [] as string[], spiffeId: '' };
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === 1) request.audience.push(reader.string());
    else if (field === 2) request.spiffeId = reader.string();
    else reader.skip(type, field);
  }
  return request;
}
