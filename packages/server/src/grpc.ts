import { Metadata, Server, ServerCredentials, status, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js';
import { KmsError, type KmsService } from '@sealwax/core';
import type { Socket } from 'node:net';
import { HealthService } from './gen/grpc/health/v1/health.js';
import {
  KeyManagementServiceService,
  type DecryptRequest,
  type DecryptResponse,
  type EncryptRequest,
  type EncryptResponse,
  type StatusRequest,
  type StatusResponse,
} from './gen/kms/v2/kms.js';
import { healthHandlers } from './grpc-health.js';
import type { Log } from './log.js';
import type { Metrics } from './metrics.js';

// The largest good request is a Decrypt: ciphertext and key id of 1 KiB each, annotations of 32 KiB.
const MAX_REQUEST_BYTES = 64 * 1024;
const MAX_STREAMS = 1_000;
const MAX_UID_LENGTH = 64;

/** The gRPC server, without a listener of its own: `inject` takes over accepted connections. */
export interface GrpcServer {
  inject(connection: Socket): void;
  /** Answers what is in flight, for `graceMs` at most, and takes no more. */
  close(graceMs: number): Promise<void>;
}

export function openGrpcServer(service: KmsService, log: Log, metrics: Metrics): GrpcServer {
  const server = new Server({
    'grpc.max_receive_message_length': MAX_REQUEST_BYTES,
    'grpc.max_concurrent_streams': MAX_STREAMS,
  });
  /** Answers a unary call with what `run` returns or throws; measured and logged. */
  const unary =
    <Request extends { readonly uid?: string }, Response>(
      method: string,
      run: (request: Request, signal: AbortSignal) => Response | Promise<Response>,
    ) =>
    (call: ServerUnaryCall<Request, Response>, callback: sendUnaryData<Response>): void => {
      const startedAtMs = performance.now();
      const gone = new AbortController();
      // Also when the caller's deadline passes: grpc-js has answered then.
      call.on('cancelled', () => {
        gone.abort();
      });
      const uid = call.request.uid?.slice(0, MAX_UID_LENGTH);
      const finish = (code: string, error?: unknown) => {
        const durationMs = performance.now() - startedAtMs;
        metrics.rpcAnswered(method, code, durationMs);
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
        const response = run(call.request, gone.signal);
        if (response instanceof Promise) response.then(succeed, fail);
        else succeed(response);
      } catch (error) {
        fail(error);
      }
    };

  server.addService(KeyManagementServiceService, {
    status: unary<StatusRequest & { uid?: string }, StatusResponse>('Status', () => service.status()),
    encrypt: unary<EncryptRequest, EncryptResponse>('Encrypt', ({ plaintext }) => {
      const { ciphertext, keyId, annotations } = service.encrypt(plaintext);
      return { ciphertext, keyId, annotations: new Map(annotations) };
    }),
    decrypt: unary<DecryptRequest, DecryptResponse>('Decrypt', async (request, signal) => ({
      plaintext: await service.decrypt(request, signal),
    })),
  });
  const health = healthHandlers(() => service.health().healthz === 'ok');
  server.addService(HealthService, health.handlers);

  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  return {
    inject(connection) {
      injector.injectConnection(connection);
    },
    async close(graceMs) {
      health.close();
      await new Promise<void>((resolve) => {
        const force = setTimeout(() => {
          server.forceShutdown();
          resolve();
        }, graceMs);
        server.tryShutdown(() => {
          clearTimeout(force);
          resolve();
        });
      });
    },
  };
}
