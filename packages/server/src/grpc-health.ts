import { status, type ServerWritableStream } from '@grpc/grpc-js';
import {
  HealthCheckResponse_ServingStatus as ServingStatus,
  type HealthCheckRequest,
  type HealthCheckResponse,
  type HealthServer,
} from './gen/grpc/health/v1/health.js';

const WATCH_POLL_MS = 1_000;
const SERVICES: ReadonlySet<string> = new Set(['', 'v2.KeyManagementService']);

/**
 * The gRPC health checking protocol: SERVING while Status is ok, for the server as a whole and for the KMS service.
 *
 * @see https://grpc.io/docs/guides/health-checking
 */
export function healthHandlers(isOk: () => boolean): { readonly handlers: HealthServer; close(): void } {
  const watchers = new Map<ServerWritableStream<HealthCheckRequest, HealthCheckResponse>, NodeJS.Timeout>();
  const current = (service: string) => {
    if (!SERVICES.has(service)) return ServingStatus.SERVICE_UNKNOWN;
    return isOk() ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
  };
  return {
    handlers: {
      check({ request }, callback) {
        if (SERVICES.has(request.service)) callback(null, { status: current(request.service) });
        else callback({ code: status.NOT_FOUND, details: 'no such service' });
      },
      watch(call) {
        let told = current(call.request.service);
        call.write({ status: told });
        const timer = setInterval(() => {
          const now = current(call.request.service);
          if (now !== told) call.write({ status: now });
          told = now;
        }, WATCH_POLL_MS);
        watchers.set(call, timer);
        call.on('cancelled', () => {
          clearInterval(timer);
          watchers.delete(call);
        });
      },
    },
    close() {
      for (const [call, timer] of watchers) {
        clearInterval(timer);
        call.end();
      }
    },
  };
}
