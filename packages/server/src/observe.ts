import type { Observer } from '@sealwax/core';
import type { Facts } from './facts.js';
import type { Log } from './log.js';
import type { Metrics } from './metrics.js';
import type { Traces } from './traces.js';

interface ObserveOptions {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly facts: Facts;
  /** Absent unless configured. */
  readonly traces?: Traces | undefined;
}

/** Turns core's reports into log lines, metrics and spans. */
export function observe({ log, metrics, facts, traces }: ObserveOptions): Observer {
  const count = metrics.observer;
  return {
    remoteCall(call) {
      count.remoteCall(call);
      traces?.remoteCall(call);
      const { key, operation, code, durationMs, error } = call;
      // A key that goes on failing is said once, by keyChanged, and then at debug: an outage must not flood the disk.
      log.debug({ key, operation, code, durationMs: Math.round(durationMs), ...(error && { error }) }, 'remote call');
    },
    keyChanged(key, change) {
      if (change.state === 'ready') log.info({ key }, 'key ready');
      else log.warn({ key, error: change.error }, 'key failing; local keys in memory go on serving');
    },
    published(keyId, change) {
      count.published(keyId, change);
      log.info({ keyId, ...change }, 'sealing under a new local key');
    },
    alarm(text) {
      count.alarm(text);
      log.error({ alarm: true }, text);
    },
    fact(key, fact) {
      // A key that goes on failing is opened again and again, and gives the same advice each time.
      if (fact.kind === 'advice' && fact.text !== facts.byKey.get(key)?.advice) log.info({ key }, fact.text);
      facts.note(key, fact);
    },
  };
}
