import { createHash } from 'node:crypto';
import { collectDefaultMetrics, Counter, Gauge, Registry, type Metric } from 'prom-client';
import type { CallFigures } from './call-figures.js';
import type { Metrics, MetricsPage, Serving } from './metrics.js';

const KEY_STATES = ['opening', 'ready', 'failing'] as const;

/** As kube-apiserver hashes key ids in its own metrics (apiserver_envelope_encryption_key_id_hash_*). */
export function hashKeyId(keyId: string): string {
  return `sha256:${createHash('sha256').update(keyId).digest('hex')}`;
}

/** What the page says besides what `Metrics` noted. */
interface PageOptions {
  readonly version: string;
  /** Absent until there is something. */
  readonly serving: Serving | undefined;
}

/** @returns writes the page as things stand */
export function metricsPage(metrics: Metrics, { version, serving }: PageOptions): () => Promise<MetricsPage> {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  showWhatWasNoted(metrics, { version, registry });
  if (serving !== undefined) showServing(serving, registry);
  return async () => ({ contentType: registry.contentType, text: await registry.metrics() });
}

function showWhatWasNoted(metrics: Metrics, { version, registry }: { version: string; registry: Registry }): void {
  const registers = [registry];
  new Gauge({ name: 'sealwax_build_info', help: 'Always 1.', labelNames: ['version', 'node'], registers }).set(
    { version, node: process.version },
    1,
  );
  showCalls(metrics.rpcs, registry, {
    total: { name: 'sealwax_rpc_total', help: 'RPCs answered.' },
    duration: { name: 'sealwax_rpc_duration_seconds', help: 'Time from an RPC’s arrival to its answer.' },
  });
  showCalls(metrics.remoteCalls, registry, {
    total: { name: 'sealwax_remote_calls_total', help: 'Calls of a backend.' },
    duration: { name: 'sealwax_remote_call_duration_seconds', help: 'Duration of the calls of a backend.' },
  });
  new Counter({
    name: 'sealwax_key_id_changes_total',
    help: 'Changes of the key id since start.',
    registers,
    collect() {
      this.reset();
      this.inc(metrics.keyIdChanges);
    },
  });
  new Counter({
    name: 'sealwax_alarms_total',
    help: 'Log lines that an operator has to look at.',
    registers,
    collect() {
      this.reset();
      this.inc(metrics.alarms);
    },
  });
  new Gauge({
    name: 'sealwax_credential_expiry_timestamp_seconds',
    help: 'When the credential of a key stops working.',
    labelNames: ['key'],
    registers,
    collect() {
      this.reset();
      for (const [key, { credentialExpiry }] of metrics.facts.byKey) {
        if (credentialExpiry !== undefined) this.set({ key }, credentialExpiry.getTime() / 1000);
      }
    },
  });
  new Counter({
    name: 'sealwax_config_reloads_total',
    help: 'Configs read anew; refused ones changed nothing.',
    labelNames: ['outcome'],
    registers,
    collect() {
      this.reset();
      for (const [outcome, count] of Object.entries(metrics.configReloads)) if (count > 0) this.inc({ outcome }, count);
    },
  });
  new Gauge({
    name: 'sealwax_config_last_reload_successful',
    help: '1 when the config file is in force as it stands, 0 when its last change was refused.',
    registers,
    collect() {
      this.set(Number(metrics.configInForce));
    },
  });
  new Gauge({
    name: 'sealwax_backend_info',
    help: 'Always 1; the package that serves a key.',
    labelNames: ['key', 'backend', 'package', 'version'],
    registers,
    collect() {
      this.reset();
      for (const { name: key, backendName: backend, backendPackage } of metrics.loadedKeys) {
        this.set({ key, backend, package: backendPackage.name, version: backendPackage.version ?? '' }, 1);
      }
    },
  });
  new Gauge({
    name: 'sealwax_backend_gauge',
    help: 'Figures that backends report.',
    labelNames: ['key', 'name'],
    registers,
    collect() {
      this.reset();
      for (const [key, { gauges }] of metrics.facts.byKey) {
        for (const [name, value] of gauges) this.set({ key, name }, value);
      }
    },
  });
}

interface MetricNames {
  readonly total: { readonly name: string; readonly help: string };
  readonly duration: { readonly name: string; readonly help: string };
}

/** A counter with the label `code`, and a histogram. */
function showCalls<Label extends string>(
  figures: CallFigures<Label>,
  registry: Registry,
  { total, duration }: MetricNames,
): void {
  show(registry, { ...total, type: 'counter' }, () =>
    [...figures].flatMap(([labels, { counts }]) =>
      [...counts].map(([code, value]) => ({ labels: { ...labels, code }, value })),
    ),
  );
  show(registry, { ...duration, type: 'histogram' }, () =>
    [...figures].flatMap(([labels, { buckets, totalSeconds }]) => {
      let soFar = 0;
      const cumulative = buckets.map((count, index) => {
        soFar += count;
        return { labels: { ...labels, le: String(figures.boundsSeconds[index] ?? '+Inf') }, value: soFar };
      });
      return [
        ...cumulative.map((sample) => ({ metricName: `${duration.name}_bucket`, ...sample })),
        { metricName: `${duration.name}_sum`, labels, value: totalSeconds },
        { metricName: `${duration.name}_count`, labels, value: soFar },
      ];
    }),
  );
}

/** Has `values` on the page. The library's own histograms count what they observe, and cannot be told what was counted elsewhere. */
function show(
  registry: Registry,
  { name, help, type }: { readonly name: string; readonly help: string; readonly type: string },
  values: () => readonly object[],
): void {
  // All that a registry asks of a metric.
  const metric = { name, get: () => Promise.resolve({ name, help, type, values: values() }) };
  registry.registerMetric(metric as unknown as Metric);
}

/** Gauges that are read at each scrape. */
function showServing({ ring, service }: Serving, registry: Registry): void {
  const registers = [registry];
  new Gauge({
    name: 'sealwax_key_id_info',
    help: 'Always 1; the label is the key id reported to the API server, hashed as the API server does; absent while none is.',
    labelNames: ['key_id_hash'],
    registers,
    collect() {
      this.reset();
      const { keyId } = service.health();
      if (keyId !== '') this.set({ key_id_hash: hashKeyId(keyId) }, 1);
    },
  });
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
