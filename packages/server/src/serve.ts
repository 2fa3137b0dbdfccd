import { KeyRing, KmsService, type KeyRingOptions } from '@sealwax/core';
import type { LoadedConfig } from './config/load.js';
import { openGrpcServer } from './grpc.js';
import { serveHttp } from './http.js';
import type { Log } from './log.js';
import { Metrics } from './metrics.js';
import { observe } from './observe.js';
import { listen } from './socket.js';
import { version } from './version.js';

/** Below the 10 s that a kubelet and the 90 s that systemd wait before they kill. */
const GRACE_MS = 5_000;

/** A server that runs. */
export interface Running {
  /** Finishes what is in flight, for 5 s at most, and removes the socket. */
  close(): Promise<void>;
}

/**
 * Composes what the config names and opens the socket, whether or not a KMS answers.
 *
 * @throws {ConfigError} when the socket cannot be made
 */
export async function serve(config: LoadedConfig, log: Log): Promise<Running> {
  const metrics = new Metrics(version);
  const [key] = config.loadedKeys;
  if (key === undefined) throw new Error('the schema lets no config without a key through');
  const ring = new KeyRing({ key, ...ringOptions(config), observer: observe(log, metrics) });
  metrics.watch(ring);
  const service = new KmsService(ring);
  const grpc = openGrpcServer(service, log, metrics);
  const closeRing = () => Promise.race([ring.close(), new Promise((resolve) => setTimeout(resolve, GRACE_MS).unref())]);
  try {
    const socket = await listen(config.socket, (connection) => {
      grpc.inject(connection);
    });
    log.info({ version, cluster: config.cluster, socket: config.socket.path }, 'listening');
    const closeHttp = serveHttp({ address: config.http.address, service, ring, metrics, log });
    return {
      async close() {
        await socket.close();
        await grpc.close(GRACE_MS);
        closeHttp();
        await closeRing();
      },
    };
  } catch (error) {
    await closeRing();
    throw error;
  }
}

/** The config's seconds as core's milliseconds. */
export function ringOptions({
  cluster,
  generation,
  limits,
  probe,
  publish,
}: LoadedConfig): Omit<KeyRingOptions, 'key' | 'observer'> {
  return {
    cluster,
    generation,
    limits: {
      probeIntervalMs: probe.intervalSeconds * 1000,
      remoteCallMs: limits.remoteCallSeconds * 1000,
      unwrapConcurrency: limits.unwrapConcurrency,
      heldLocalKeys: limits.heldLocalKeys,
      waitingDecrypts: limits.waitingDecrypts,
    },
    publish: { quietMs: publish.quietSeconds * 1000, latestMs: publish.latestSeconds * 1000 },
  };
}
