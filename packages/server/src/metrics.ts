import { createHash } from 'node:crypto';
import type { KeyRing, Observer } from '@sealwax/core';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { LoadedKey } from './load-backend.js';

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
  readonly #backendInfo: Gauge<'key' | 'backend' | 'package' | 'version'>;
  readonly #configReloads: Counter<'outcome'>;
  readonly #configReloaded: Gauge;

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
    this.#configReloads = new Counter({
      name: 'sealwax_config_reloads_total',
      help: 'Configs read anew; refused ones changed nothing.',
      labelNames: ['outcome'],
      registers,
    });
    this.#configReloaded = new Gauge({
      name: 'sealwax_config_last_reload_successful',
      help: '1 when the config file is in force as it stands, 0 when its last change was refused.',
      registers,
    });
    this.#configReloaded.set(1);
    this.#backendInfo = new Gauge({
      name: 'sealwax_backend_info',
      help: 'Always 1; the package that serves a key.',
      labelNames: ['key', 'backend', 'package', 'version'],
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

  configReloaded(outcome: 'ok' | 'refused'): void {
    this.#configReloads.inc({ outcome });
    this.#configReloaded.set(Number(outcome === 'ok'));
  }

  keysLoaded(keys: readonly LoadedKey[]): void {
    this.#backendInfo.reset();
    for (const { name: key, backendName: backend, backendPackage } of keys) {
      this.#backendInfo.set({ key, backend, package: backendPackage.name, version: backendPackage.version ?? '' }, 1);
    }
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
      name: 'sealwax_local_keys_remembered',
      help: 'Local keys whose records are remembered in the state directory.',
      registers,
      collect() {
        this.set(ring.rememberedLocalKeys);
      },
    });
    new Gauge({
      name: 'sealwax_local_keys_rescued',
      help: 'Local keys that were wrapped anew because their KEK was lost.',
      registers,
      collect() {
        this.set(ring.rescuedLocalKeys);
      },
    });
    new Gauge({
      name: 'sealwax_alarms_standing',
      help: 'What an operator has to look at now; /keys says what.',
      registers,
      collect() {
        this.set(ring.standingAlarms.length);
      },
    });
    new Gauge({
      name: 'sealwax_key_role_info',
      help: 'Always 1; the role a key has in the config that is in force.',
      labelNames: ['key', 'backend', 'role'],
      registers,
      collect() {
        this.reset();
        for (const { name, backend, role } of ring.keyStates) this.set({ key: name, backend, role }, 1);
      },
    });
    new Gauge({
      name: 'sealwax_key_carried_seconds',
      help: 'How long each answer to Encrypt has carried a record of this key, so that it alone could open what was written since; absent when the last one did not.',
      labelNames: ['key'],
      registers,
      collect() {
        this.reset();
        for (const { name, carriedForMs } of ring.keyStates) {
          if (carriedForMs !== undefined) this.set({ key: name }, carriedForMs / 1000);
        }
      },
    });
    new Gauge({
      name: 'sealwax_key_needed_seconds',
      help: 'Time since a Decrypt last needed this key; absent when none did since start.',
      labelNames: ['key'],
      registers,
      collect() {
        this.reset();
        for (const { name, neededMs } of ring.keyStates) {
          if (neededMs !== undefined) this.set({ key: name }, neededMs / 1000);
        }
      },
    });
    new Gauge({
      name: 'sealwax_key_refused_seconds',
      help: 'For how long every probe of a key was refused while its login was good; absent when the last one was not.',
      labelNames: ['key'],
      registers,
      collect() {
        this.reset();
        for (const { name, refusedForMs } of ring.keyStates) {
          if (refusedForMs !== undefined) this.set({ key: name }, refusedForMs / 1000);
        }
      },
    });
    new Gauge({
      name: 'sealwax_key_lost',
      help: '1 when what a key wrapped last cannot be unwrapped any more.',
      labelNames: ['key'],
      registers,
      collect() {
        this.reset();
        for (const { name, lost } of ring.keyStates) this.set({ key: name }, Number(lost));
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
        this.reset();
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
        this.reset();
        for (const { name, forMs } of ring.keyStates) this.set({ key: name }, forMs / 1000);
      },
    });
    new Gauge({
      name: 'sealwax_key_last_good_contact_seconds',
      help: 'Time since the KMS of a key last answered as hoped; absent before it ever did.',
      labelNames: ['key'],
      registers,
      collect() {
        this.reset();
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
