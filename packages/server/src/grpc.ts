import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { Metadata, Server, ServerCredentials, status, type handleUnaryCall, type ServerUnaryCall } from '@grpc/grpc-js';
import { KmsError, type Caller, type EnvelopeParts, type KmsService, type StatusAnswer } from '@sealwax/core';
import type { Socket } from 'node:net';
import { HealthService } from './gen/grpc/health/v1/health.js';
import {
  DecryptRequest,
  DecryptResponse,
  EncryptRequest,
  EncryptResponse,
  KeyManagementServiceService,
  StatusRequest,
  StatusResponse,
} from './gen/kms/v2/kms.js';
import { healthHandlers } from './grpc-health.js';
import type { Log } from './log.js';
import type { Metrics } from './metrics.js';
import type { Traces } from './traces.js';

// The largest good request is a Decrypt: ciphertext and key id of 1 KiB each, annotations of 32 KiB.
const MAX_REQUEST_BYTES = 64 * 1024;
const MAX_STREAMS = 1_000;
const MAX_UID_LENGTH = 64;

/** The generated service, with requests and responses left as bytes: what grpc-js cannot decode or encode it answers by itself, unlogged, as an INTERNAL error. */
const SERVICE = Object.fromEntries(
  Object.entries(KeyManagementServiceService).map(([name, method]) => [
    name,
    { ...method, requestDeserialize: (bytes: Buffer) => bytes, responseSerialize: (bytes: Buffer) => bytes },
  ]),
);

/** How one method is answered. */
interface Method<Request, Answer> {
  /** The generated codec of its request. */
  readonly request: { decode(bytes: Uint8Array): Request };
  readonly run: (request: Request, caller: Caller) => Answer | Promise<Answer>;
  /** Writes the response that says `answer`. */
  readonly respond: (answer: Answer, writer: BinaryWriter) => BinaryWriter;
}

/** The gRPC server, without a listener of its own: `inject` takes over accepted connections. */
export interface GrpcServer {
  inject(connection: Socket): void;
  /** Answers what is in flight, for `graceMs` at most, and takes no more. */
  close(graceMs: number): Promise<void>;
}

interface GrpcOptions {
  readonly log: Log;
  readonly metrics: Metrics;
  /** Absent unless configured. */
  readonly traces?: Traces | undefined;
}

export function openGrpcServer(service: KmsService, { log, metrics, traces }: GrpcOptions): GrpcServer {
  const server = new Server({
    'grpc.max_receive_message_length': MAX_REQUEST_BYTES,
    'grpc.max_concurrent_streams': MAX_STREAMS,
    // Statistics of each call for a debugging service that is not offered.
    'grpc.enable_channelz': 0,
  });
  const encode = encoder();
  /** Answers a unary call with what `run` returns or throws; measured and logged. */
  const unary = <Request extends { readonly uid?: string }, Answer>(
    method: string,
    { request: codec, run, respond }: Method<Request, Answer>,
  ): handleUnaryCall<Uint8Array, Buffer> => {
    const figure = metrics.rpcs.of({ method });
    return (call, callback) => {
      const startedAtMs = performance.now();
      const span = traces?.beginRpc(method);
      let uid: string | undefined;
      const finish = (code: string, error?: unknown) => {
        const durationMs = performance.now() - startedAtMs;
        figure.record(code, durationMs / 1000);
        span?.end({ code, uid });
        if (error === undefined) log.debug({ method, uid, code, durationMs }, 'rpc');
        else log.warn({ method, uid, code, durationMs, error }, 'rpc failed');
      };
      const fail = (error: unknown) => {
        const answer =
          error instanceof KmsError
            ? error
            : new KmsError('INTERNAL', 'a defect of Sealwax; its log says more', { cause: error });
        finish(answer.code, answer);
        callback({ code: status[answer.code], details: answer.message, metadata: new Metadata() });
      };
      const succeed = (answer: Answer) => {
        const response = encode((writer) => respond(answer, writer));
        finish('OK');
        callback(null, response);
      };
      try {
        const request = decode(codec, call.request);
        uid = request.uid?.slice(0, MAX_UID_LENGTH);
        const work = () => run(request, new GrpcCaller(call));
        const answer = span === undefined ? work() : span.within(work);
        if (answer instanceof Promise) answer.then(succeed).catch(fail);
        else succeed(answer);
      } catch (error) {
        fail(error);
      }
    };
  };

  server.addService(SERVICE, {
    status: unary<StatusRequest & { uid?: string }, StatusAnswer>('Status', {
      request: StatusRequest,
      run: () => service.status(),
      respond: (answer, writer) => StatusResponse.encode(answer, writer),
    }),
    encrypt: unary<EncryptRequest, EnvelopeParts>('Encrypt', {
      request: EncryptRequest,
      run: ({ plaintext }) => service.encrypt(plaintext),
      respond: encryptResponder(),
    }),
    decrypt: unary<DecryptRequest, Uint8Array>('Decrypt', {
      request: DecryptRequest,
      run: (request, caller) => service.decrypt(request, caller),
      respond: (plaintext, writer) => DecryptResponse.encode({ plaintext }, writer),
    }),
  });
  const health = healthHandlers(() => service.health().healthz === 'ok');
  server.addService(HealthService, health.handlers);

  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  // Not what grpc-js says: on Node 24 it is done as soon as its sessions begin to close, with calls still in flight.
  const connections = new Set<Socket>();
  let whenEmpty: () => void = () => undefined;
  return {
    inject(connection) {
      connections.add(connection);
      connection.once('close', () => {
        connections.delete(connection);
        if (connections.size === 0) whenEmpty();
      });
      injector.injectConnection(connection);
    },
    async close(graceMs) {
      health.close();
      server.tryShutdown(() => undefined);
      const force = setTimeout(() => {
        server.forceShutdown();
        for (const connection of connections) connection.destroy();
      }, graceMs);
      await new Promise<void>((resolve) => {
        whenEmpty = resolve;
        if (connections.size === 0) resolve();
      });
      clearTimeout(force);
    },
  };
}

/** @throws {KmsError} INVALID_ARGUMENT */
function decode<Request>(codec: Method<Request, unknown>['request'], bytes: Uint8Array): Request {
  try {
    return codec.decode(bytes);
  } catch (error) {
    throw new KmsError('INVALID_ARGUMENT', 'the request is no message of this method', { cause: error });
  }
}

/** Who waits for a call's answer: until he cancels it or its deadline passes. */
class GrpcCaller implements Caller {
  readonly #call: ServerUnaryCall<unknown, unknown>;
  #gone: AbortController | undefined;

  constructor(call: ServerUnaryCall<unknown, unknown>) {
    this.#call = call;
  }

  get signal(): AbortSignal {
    if (this.#gone === undefined) {
      const gone = new AbortController();
      this.#gone = gone;
      if (this.#call.cancelled) gone.abort();
      // Also when the caller's deadline passes: grpc-js has answered then.
      this.#call.once('cancelled', () => {
        gone.abort();
      });
    }
    return this.#gone.signal;
  }
}

/** Encodes message after message with one writer: a new one would have to make and grow a buffer for each. */
function encoder(): (write: (writer: BinaryWriter) => BinaryWriter) => Buffer {
  let idle: BinaryWriter | undefined;
  return (write) => {
    const writer = idle ?? new BinaryWriter();
    // Given up if `write` throws: what it had written would begin the next message.
    idle = undefined;
    const { buffer, byteOffset, length } = write(writer).finish();
    idle = writer;
    return Buffer.from(buffer, byteOffset, length);
  };
}

/**
 * Writes answers to Encrypt; what they share, while the same local key seals, is encoded once.
 *
 * The encodings of parts of a message, one behind the other, are an encoding of the whole (protobuf.dev/programming-guides/encoding/#last-one-wins).
 */
function encryptResponder(): (answer: EnvelopeParts, writer: BinaryWriter) => BinaryWriter {
  const none = { ciphertext: new Uint8Array(), keyId: '', annotations: new Map<string, Uint8Array>() };
  let shared: { readonly annotations: EnvelopeParts['annotations']; readonly bytes: Uint8Array } | undefined;
  return ({ ciphertext, keyId, annotations }, writer) => {
    if (shared?.annotations !== annotations) {
      const bytes = EncryptResponse.encode({ ...none, keyId, annotations: new Map(annotations) }).finish();
      shared = { annotations, bytes };
    }
    return EncryptResponse.encode({ ...none, ciphertext }, writer).raw(shared.bytes);
  };
}
