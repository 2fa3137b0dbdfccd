import { Metadata, Server, ServerCredentials, status, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js';
import { KmsError, type KmsService } from '@sealwax/core';
import type { Socket } from 'node:net';
import { HealthService } from './gen/grpc/health/v1/health.js';
import {
  DecryptRequest,
  EncryptRequest,
  KeyManagementServiceService,
  StatusRequest,
  type DecryptResponse,
  type EncryptResponse,
  type StatusResponse,
} from './gen/kms/v2/kms.js';
import { healthHandlers } from './grpc-health.js';
import type { Log } from './log.js';
import type { Metrics } from './metrics.js';
import type { Traces } from './traces.js';

// The largest good request is a Decrypt: ciphertext and key id of 1 KiB each, annotations of 32 KiB.
const MAX_REQUEST_BYTES = 64 * 1024;
const MAX_STREAMS = 1_000;
const MAX_UID_LENGTH = 64;

/** The generated service with requests left as bytes: what grpc-js cannot decode it answers by itself, unlogged, as an INTERNAL error. */
const SERVICE = Object.fromEntries(
  Object.entries(KeyManagementServiceService).map(([name, method]) => [
    name,
    { ...method, requestDeserialize: (bytes: Buffer) => bytes },
  ]),
);

/** How one method is answered. */
interface Method<Request, Response> {
  /** The generated codec of its request. */
  readonly request: { decode(bytes: Uint8Array): Request };
  readonly run: (request: Request, signal: AbortSignal) => Response | Promise<Response>;
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
  });
  /** Answers a unary call with what `run` returns or throws; measured and logged. */
  const unary =
    <Request extends { readonly uid?: string }, Response>(
      method: string,
      { request: codec, run }: Method<Request, Response>,
    ) =>
    (call: ServerUnaryCall<Uint8Array, Response>, callback: sendUnaryData<Response>): void => {
      const startedAtMs = performance.now();
      const span = traces?.beginRpc(method);
      const gone = new AbortController();
      // Also when the caller's deadline passes: grpc-js has answered then.
      call.on('cancelled', () => {
        gone.abort();
      });
      let uid: string | undefined;
      const finish = (code: string, error?: unknown) => {
        const durationMs = performance.now() - startedAtMs;
        metrics.rpcAnswered(method, code, durationMs);
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
      const succeed = (response: Response) => {
        finish('OK');
        callback(null, response);
      };
      try {
        const request = decode(codec, call.request);
        uid = request.uid?.slice(0, MAX_UID_LENGTH);
        const work = () => run(request, gone.signal);
        const response = span === undefined ? work() : span.within(work);
        if (response instanceof Promise) response.then(succeed, fail);
        else succeed(response);
      } catch (error) {
        fail(error);
      }
    };

  server.addService(SERVICE, {
    status: unary<StatusRequest & { uid?: string }, StatusResponse>('Status', {
      request: StatusRequest,
      run: () => service.status(),
    }),
    encrypt: unary<EncryptRequest, EncryptResponse>('Encrypt', {
      request: EncryptRequest,
      run: ({ plaintext }) => {
        const { ciphertext, keyId, annotations } = service.encrypt(plaintext);
        return { ciphertext, keyId, annotations: new Map(annotations) };
      },
    }),
    decrypt: unary<DecryptRequest, DecryptResponse>('Decrypt', {
      request: DecryptRequest,
      run: async (request, signal) => ({ plaintext: await service.decrypt(request, signal) }),
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
