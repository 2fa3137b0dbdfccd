import type { KeyRing, KmsService, Observer } from '@sealwax/core';
import { CallFigures } from './call-figures.js';
import type { Facts } from './facts.js';
import type { LoadedKey } from './load-backend.js';

const RPC_BOUNDS_SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 3];
const REMOTE_BOUNDS_SECONDS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3, 10];

/** What is read at each scrape. */
export interface Serving {
  readonly ring: KeyRing;
  readonly service: KmsService;
}

/** What `/metrics` answers. */
export interface MetricsPage {
  readonly contentType: string;
  readonly text: string;
}

/**
 * Everything that `/metrics` shows, but for what is read at each scrape and what backends reported. Names and meanings: docs/operations.md.
 *
 * Only noted here. The library that writes the page is loaded when somebody asks for it: it would cost each start time and memory.
 */
export class Metrics {
  readonly rpcs = new CallFigures<'method'>(RPC_BOUNDS_SECONDS);
  readonly remoteCalls = new CallFigures<'key' | 'operation'>(REMOTE_BOUNDS_SECONDS);
  readonly facts: Facts;
  readonly configReloads = { ok: 0, refused: 0 };
  keyIdChanges = 0;
  alarms = 0;
  loadedKeys: readonly LoadedKey[] = [];
  configInForce = true;
  readonly #version: string;
  #serving: Serving | undefined;
  #page: Promise<() => Promise<MetricsPage>> | undefined;

  constructor(version: string, facts: Facts) {
    this.#version = version;
    this.facts = facts;
  }

  async page(): Promise<MetricsPage> {
    this.#page ??= import('./metrics-page.js').then(({ metricsPage }) =>
      metricsPage(this, { version: this.#version, serving: this.#serving }),
    );
    return (await this.#page)();
  }

  configReloaded(outcome: 'ok' | 'refused'): void {
    this.configReloads[outcome] += 1;
    this.configInForce = outcome === 'ok';
  }

  keysLoaded(keys: readonly LoadedKey[]): void {
    this.loadedKeys = keys;
  }

  /** Both are read at each scrape. */
  watch(ring: KeyRing, service: KmsService): void {
    this.#serving = { ring, service };
  }

  /** The part of core's reports that are figures. */
  get observer(): Pick<Observer, 'remoteCall' | 'published' | 'alarm'> {
    return {
      remoteCall: ({ key, operation, code, durationMs }) => {
        this.remoteCalls.of({ key, operation }).record(code, durationMs / 1000);
      },
      published: (keyId, { previousKeyId }) => {
        if (previousKeyId !== undefined && previousKeyId !== keyId) this.keyIdChanges += 1;
      },
      alarm: () => {
        this.alarms += 1;
      },
    };
  }
}
