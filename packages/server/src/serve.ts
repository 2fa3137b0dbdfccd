import { KeyRing, KmsService, Remembered, Rescue, type RingConfig } from '@sealwax/core';
import type { LoadedConfig } from './config/load.js';
import { Facts } from './facts.js';
import { openGrpcServer } from './grpc.js';
import { serveHttp } from './http.js';
import { describeKey } from './load-backend.js';
import type { Log } from './log.js';
import { Metrics } from './metrics.js';
import { observe } from './observe.js';
import { keepReloading, type Reloading } from './reload.js';
import { listen, type ListeningSocket } from './socket.js';
import { version } from './version.js';

/** Below the 10 s that a kubelet and the 90 s that systemd wait before they kill. */
const GRACE_MS = 5_000;

/** A server that runs. */
export interface Running {
  /** In force now. */
  readonly config: LoadedConfig;
  /** Finishes what is in flight, for 5 s at most, and removes the socket. */
  close(): Promise<void>;
  /** Reads the config file again. */
  reload(): void;
}

/**
 * Composes what the config names and opens the socket, whether or not a KMS answers.
 *
 * @param configFile - watched, and read again when it changes
 * @throws {ConfigError} when the socket cannot be made, or remembered local keys need a key that is not configured
 */
export async function serve(config: LoadedConfig, configFile: string, log: Log): Promise<Running> {
  const facts = new Facts();
  facts.beginAnew(config.loadedKeys.map(({ name }) => name));
  const metrics = new Metrics(version, facts);
  // A tracing library costs start time and memory: most clusters have no collector.
  const traces = config.traces && new (await import('./traces.js')).Traces(config.traces, log);
  const observer = observe({ log, metrics, facts, traces });
  const { cluster } = config;
  const alarm = (text: string) => {
    observer.alarm(text);
  };
  const directory = config.state?.path;
  const remembered =
    directory === undefined
      ? undefined
      : await Remembered.open({ directory, cluster, capacity: config.limits.heldLocalKeys, alarm });
  const rescue = await Rescue.open({ directory, cluster, alarm });
  const ring = new KeyRing({ cluster, observer, remembered, rescue, ...ringConfig(config) });
  const service = new KmsService(ring);
  metrics.watch(ring, service);
  metrics.keysLoaded(config.loadedKeys);
  const grpc = openGrpcServer(service, { log, metrics, traces });
  const closeRing = () => Promise.race([ring.close(), new Promise((resolve) => setTimeout(resolve, GRACE_MS).unref())]);
  let socket: ListeningSocket | undefined;
  let closeHttp: (() => void) | undefined;
  let reloading: Reloading | undefined;
  const close = async () => {
    reloading?.stop();
    await socket?.close();
    await grpc.close(GRACE_MS);
    closeHttp?.();
    await closeRing();
    await traces?.close();
  };
  try {
    socket = await listen(config.socket, (connection) => {
      grpc.inject(connection);
    });
    const keys = config.loadedKeys.map(describeKey);
    log.info({ version, cluster, socket: config.socket.path, keys }, 'listening');
    closeHttp = serveHttp({ address: config.http.address, service, ring, metrics, facts, log });
    const reloads = keepReloading(configFile, { config, ring, metrics, facts, log });
    reloading = reloads;
    return {
      get config() {
        return reloads.config;
      },
      reload() {
        reloads.now();
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The config's seconds and minutes as core's milliseconds. */
export function ringConfig({
  generation,
  limits,
  probe,
  publish,
  outage,
  refusal,
  retired,
  loadedKeys,
}: LoadedConfig): RingConfig {
  return {
    generation,
    keys: loadedKeys,
    retired,
    limits: {
      probeIntervalMs: probe.intervalSeconds * 1000,
      oldVersionsMs: probe.oldVersionsSeconds * 1000,
      remoteCallMs: limits.remoteCallSeconds * 1000,
      unwrapConcurrency: limits.unwrapConcurrency,
      heldLocalKeys: limits.heldLocalKeys,
      waitingDecrypts: limits.waitingDecrypts,
    },
    publish: {
      quietMs: publish.quietSeconds * 1000,
      latestMs: publish.latestSeconds * 1000,
      startMs: publish.startSeconds * 1000,
      completeMs: publish.completeSeconds * 1000,
    },
    policy: {
      outage: { graceMs: outage.graceMinutes * 60_000, then: outage.then },
      refusal: { afterMs: refusal.afterMinutes * 60_000, action: refusal.action },
    },
  };
}
