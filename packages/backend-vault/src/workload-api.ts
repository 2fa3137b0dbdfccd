import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { Client, credentials, Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { BackendError } from '@sealwax/core';
import type { SpiffeConfig } from './config.js';

/** The service is in no protobuf package: spiffe/spiffe, standards/workloadapi.proto. */
const FETCH_JWT_SVID = '/SpiffeWorkloadAPI/FetchJWTSVID';

/**
 * The statuses that waiting does not change, and what they mean. Every other one is "not now": UNAVAILABLE is what the agent says while it starts, and
 * what grpc-js says when nobody listens.
 *
 * @see SPIFFE Workload Endpoint §6 and appendix A
 */
const REFUSALS: ReadonlyMap<status, string> = new Map([
  [status.PERMISSION_DENIED, 'no such identity is registered for this process'],
  [status.UNAUTHENTICATED, 'it does not know this process'],
  [status.INVALID_ARGUMENT, 'it refuses the request'],
  [status.UNIMPLEMENTED, 'it issues no JWTs'],
]);

/**
 * A JWT-SVID from the Workload API: a JWT by which the SPIFFE implementation on this node vouches for this process.
 *
 * @param doing - for instance `log in at auth/jwt`
 * @throws {BackendError} `unauthenticated` when it issues none to us, `unavailable` when it does not answer
 * @see SPIFFE Workload API §6.2.1
 */
export async function fetchJwtSvid(
  { socket, audience, spiffeId }: SpiffeConfig,
  doing: string,
  signal: AbortSignal,
): Promise<string> {
  const client = new Client(`unix:${socket}`, credentials.createInsecure(), {
    // Calls come hours apart, or soon after one that failed: its connection, which waits before it tries again, must not be found.
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_retries': 0,
  });
  const failure = (code: 'unauthenticated' | 'unavailable', reason: string, cause?: unknown) =>
    new BackendError(code, `vault: ${doing}: the SPIFFE Workload API at ${socket}: ${reason}`, { cause });
  try {
    const [jwt] = await call(client, encodeRequest(audience, spiffeId), signal);
    // One or more, with all fields set (§4.5): the first is ours where we have not said which.
    if (jwt === undefined || jwt === '') throw failure('unauthenticated', 'it gave no JWT');
    return jwt;
  } catch (error) {
    if (!isServiceError(error)) throw error;
    if (signal.aborted) throw failure('unavailable', 'no answer in time', error);
    const refusal = REFUSALS.get(error.code);
    if (refusal === undefined) throw failure('unavailable', detailsOf(error), error);
    throw failure('unauthenticated', `${refusal} (${detailsOf(error)})`, error);
  } finally {
    client.close();
  }
}

function call(client: Client, request: Buffer, signal: AbortSignal): Promise<string[]> {
  signal.throwIfAborted();
  const metadata = new Metadata();
  // Against forged requests through others; without it the answer is INVALID_ARGUMENT (SPIFFE Workload Endpoint §3).
  metadata.set('workload.spiffe.io', 'true');
  return new Promise((resolve, reject) => {
    const ended = new AbortController();
    const unary = client.makeUnaryRequest(
      FETCH_JWT_SVID,
      (bytes: Buffer) => bytes,
      decodeResponse,
      request,
      metadata,
      (error, jwts) => {
        ended.abort();
        if (error === null) resolve(jwts ?? []);
        else reject(error);
      },
    );
    const cancel = () => {
      unary.cancel();
    };
    signal.addEventListener('abort', cancel, { once: true, signal: ended.signal });
  });
}

/** A `JWTSVIDRequest`. */
function encodeRequest(audience: string, spiffeId: string | undefined): Buffer {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.LengthDelimited).string(audience);
  if (spiffeId !== undefined) writer.tag(2, WireType.LengthDelimited).string(spiffeId);
  return Buffer.from(writer.finish());
}

/** The JWTs in a `JWTSVIDResponse`. What this throws grpc-js makes an INTERNAL of. */
function decodeResponse(bytes: Uint8Array): string[] {
  return fields(bytes, 1, (reader) => reader.bytes()).map(
    (svid) => fields(svid, 2, (reader) => reader.string()).at(-1) ?? '',
  );
}

/** Each value of the field `number` of a message. */
function fields<T>(message: Uint8Array, number: number, read: (reader: BinaryReader) => T): T[] {
  const reader = new BinaryReader(message);
  const values: T[] = [];
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === number && type === WireType.LengthDelimited) values.push(read(reader));
    else reader.skip(type, field);
  }
  return values;
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'code' in error && 'details' in error && 'metadata' in error;
}

function detailsOf({ details }: ServiceError): string {
  // grpc-js wraps the error of connect(2) in three sentences.
  const [, errno] = /\bconnect (E[A-Z]+)\b/.exec(details) ?? [];
  if (errno === 'ENOENT') return 'there is no such socket';
  if (errno === 'ECONNREFUSED') return 'connection refused';
  if (errno === 'EACCES') return 'we may not open the socket';
  return details.replace(/[\p{Cc}\s]+/gu, ' ').slice(0, 300);
}
