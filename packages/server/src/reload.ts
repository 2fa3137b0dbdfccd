import { isDeepStrictEqual } from 'node:util';
import { ConfigError, isConfigError, isSameKey, onFileChange, type KeyRing } from '@sealwax/core';
import { loadConfig, type LoadedConfig } from './config/load.js';
import type { Facts } from './facts.js';
import { describeKey } from './load-backend.js';
import type { Log } from './log.js';
import type { Metrics } from './metrics.js';
import { ringConfig } from './serve.js';

interface ReloadOptions {
  /** In force now. */
  readonly config: LoadedConfig;
  readonly ring: KeyRing;
  readonly metrics: Metrics;
  readonly facts: Facts;
  readonly log: Log;
}

/** Reads the config anew when it changes. */
export interface Reloading {
  /** In force now. */
  readonly config: LoadedConfig;
  /** Reads it now; returns at once. */
  now(): void;
  stop(): void;
}

/** Watches the config file, also through the symbolic links of a mounted ConfigMap, and takes over each config that is right in every part. */
export function keepReloading(file: string, { config, ring, metrics, facts, log }: ReloadOptions): Reloading {
  const stopping = new AbortController();
  let inForce = config;
  let running = Promise.resolve();
  const reload = async () => {
    if (stopping.signal.aborted) return;
    let refuseFacts: () => void = () => undefined;
    try {
      const loaded = await loadConfig(file);
      refuseWhatNeedsRestart(inForce, loaded);
      const opened = loaded.loadedKeys.filter((key) => !inForce.loadedKeys.some((other) => isSameKey(key, other)));
      refuseFacts = facts.beginAnew(opened.map(({ name }) => name));
      await ring.reconfigure(ringConfig(loaded));
      facts.keepOnly(loaded.loadedKeys.map(({ name }) => name));
      inForce = loaded;
      metrics.configReloaded('ok');
      metrics.keysLoaded(loaded.loadedKeys);
      log.info({ file, keys: loaded.loadedKeys.map(describeKey) }, 'config reloaded');
    } catch (error) {
      refuseFacts();
      metrics.configReloaded('refused');
      const reason = isConfigError(error) ? { reason: error.message } : { error };
      log.error({ file, ...reason }, 'config not reloaded; the one before stays in force');
    }
  };
  const now = () => {
    // One after the other: of two changes the later one wins.
    running = running.then(reload);
  };
  onFileChange(file, now, stopping.signal);
  return {
    get config() {
      return inForce;
    },
    now,
    stop() {
      stopping.abort();
    },
  };
}

/** @throws {ConfigError} naming the first setting that cannot change while the plugin runs */
function refuseWhatNeedsRestart(inForce: LoadedConfig, loaded: LoadedConfig): void {
  if (inForce.cluster !== loaded.cluster) {
    throw new ConfigError('cluster', 'never changes: what was encrypted before would not open');
  }
  for (const section of ['socket', 'http', 'log', 'traces', 'state'] as const) {
    if (!isDeepStrictEqual(inForce[section], loaded[section])) {
      throw new ConfigError(section, 'changes only with a restart');
    }
  }
  for (const limit of ['heldLocalKeys', 'waitingDecrypts'] as const) {
    if (inForce.limits[limit] !== loaded.limits[limit]) {
      throw new ConfigError(`limits.${limit}`, 'changes only with a restart');
    }
  }
}
