import { createHash } from 'node:crypto';
import type { KeyRing, Observer } from '@sealwax/core';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

const RPC_BUCKETS_SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 3];
const REMOTE_BUCKETS_SECONDS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3, 10];
const KEY_STATES = ['opening', 'ready', 'failing'] as const;

/** As kube-apiserver hashes key ids in its own metrics (apiserver_envelope_encryption_key_id_hash_*). */
export function hashKeyId(keyId: string): string {
  return `sha256:${createHash('sha256').update(keyId).digest('hex')}`;
}

/** Everything that `/metrics` shows. Names and meanings: docs/operations.md. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #rpcs: Counter<'method' | 'code'>;
  readonly #rpcSeconds: Histogram<'method'>;
  readonly #remoteCalls: Counter<'key' | 'operation' | 'code'>;
  readonly #remoteCallSeconds: Histogram<'key' | 'operation'>;
  readonly #keyIdInfo: Gauge<'key_id_hash'>;
  readonly #keyIdChanges: Counter;
  readonly #alarms: Counter;
  readonly #credentialExpiry: Gauge<'key'>;
  readonly #backendGauge: Gauge<'key' | 'name'>;

  constructor(version: string) {
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    new Gauge({ name: 'sealwax_build_info', help: 'Always 1.', labelNames: ['version', 'node'], registers }).set(
      { version, node: process.version },
      1,
    );
    this.#rpcs = new Counter({
      name: 'sealwax_rpc_total',
      help: 'RPCs answered.',
      labelNames: ['method', 'code'],
      registers,
    });
    this.#rpcSeconds = new Histogram({
      name: 'sealwax_rpc_duration_seconds',
      help: 'Time from an RPC’s arrival to its answer.',
      labelNames: ['method'],
      buckets: RPC_BUCKETS_SECONDS,
      registers,
    });
    this.#remoteCalls = new Counter({
      name: 'sealwax_remote_calls_total',
      help: 'Calls of a backend.',
      labelNames: ['key', 'operation', 'code'],
      registers,
    });
    this.#remoteCallSeconds = new Histogram({
      name: 'sealwax_remote_call_duration_seconds',
      help: 'Duration of the calls of a backend.',
      labelNames: ['key', 'operation'],
      buckets: REMOTE_BUCKETS_SECONDS,
      registers,
    });
    this.#keyIdInfo = new Gauge({
      name: 'sealwax_key_id_info',
      help: 'Always 1; the label is the key id reported to the API server, hashed as the API server does.',
      labelNames: ['key_id_hash'],
      registers,
    });
    this.#keyIdChanges = new Counter({
      name: 'sealwax_key_id_changes_total',
      help: 'Changes of the key id since start.',
      registers,
    });
    this.#alarms = new Counter({
      name: 'sealwax_alarms_total',
      help: 'Log lines that an operator has to look at.',
      registers,
    });
    this.#credentialExpiry = new Gauge({
      name: 'sealwax_credential_expiry_timestamp_seconds',
      help: 'When the credential of a key stops working.',
      labelNames: ['key'],
      registers,
    });
    this.#backendGauge = new Gauge({
      name: 'sealwax_backend_gauge',
      help: 'Figures that backends report.',
      labelNames: ['key', 'name'],
      registers,
    });
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  async text(): Promise<string> {
    return this.#registry.metrics();
  }

  rpcAnswered(method: string, code: string, durationMs: number): void {
    this.#rpcs.inc({ method, code });
    this.#rpcSeconds.observe({ method }, durationMs / 1000);
  }

  /** Gauges that are read from `ring` at each scrape. */
  watch(ring: KeyRing): void {
    const registers = [this.#registry];
    new Gauge({
      name: 'sealwax_local_keys_held',
      help: 'Local keys in memory.',
      registers,
      collect() {
        this.set(ring.heldLocalKeys);
      },
    });
    new Gauge({
      name: 'sealwax_decrypts_waiting',
      help: 'Decrypts that wait for a KMS.',
      registers,
      collect() {
        this.set(ring.waitingDecrypts);
      },
    });
    new Gauge({
      name: 'sealwax_key_state',
      help: '1 for the state a key is in, 0 for the others.',
      labelNames: ['key', 'backend', 'state'],
      registers,
      collect() {
        for (const { name, backend, state } of ring.keyStates) {
          for (const each of KEY_STATES) this.set({ key: name, backend, state: each }, Number(each === state));
        }
      },
    });
    new Gauge({
      name: 'sealwax_key_state_seconds',
      help: 'How long a key has been in its state.',
      labelNames: ['key'],
      registers,
      collect() {
        for (const { name, forMs } of ring.keyStates) this.set({ key: name }, forMs / 1000);
      },
    });
    new Gauge({
      name: 'sealwax_key_last_good_contact_seconds',
      help: 'Time since the KMS of a key last answered as hoped; absent before it ever did.',
      labelNames: ['key'],
      registers,
      collect() {
        for (const { name, lastGoodContactMs } of ring.keyStates) {
          if (lastGoodContactMs !== undefined) this.set({ key: name }, lastGoodContactMs / 1000);
        }
      },
    });
  }

  /** The part of core's reports that are figures. */
  get observer(): Observer {
    return {
      remoteCall: ({ key, operation, code, durationMs }) => {
        this.#remoteCalls.inc({ key, operation, code });
        this.#remoteCallSeconds.observe({ key, operation }, durationMs / 1000);
      },
      keyChanged: () => undefined,
      published: (keyId, { previousKeyId }) => {
        this.#keyIdInfo.reset();
        this.#keyIdInfo.set({ key_id_hash: hashKeyId(keyId) }, 1);
        if (previousKeyId !== undefined && previousKeyId !== keyId) this.#keyIdChanges.inc();
      },
      alarm: () => {
        this.#alarms.inc();
      },
      fact: (key, fact) => {
        if (fact.kind === 'gauge') this.#backendGauge.set({ key, name: fact.name }, fact.value);
        if (fact.kind !== 'credential-expiry') return;
        if (fact.at === undefined) this.#credentialExpiry.remove({ key });
        else this.#credentialExpiry.set({ key }, fact.at.getTime() / 1000);
      },
    };
  }
}
