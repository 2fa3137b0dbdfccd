import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace, type Span, type Tracer } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import type { RemoteCall } from '@sealwax/core';
import type { TracesConfig } from './config/schema.js';
import type { Log } from './log.js';
import { version } from './version.js';

const CLOSE_MS = 2_000;

/** An RPC that is being answered, as a span. */
export interface RpcSpan {
  /** Runs the RPC's work; the remote calls that it causes become children. */
  within<T>(work: () => T): T;
  /** @param uid - the API server's id of its own request */
  end(answer: { readonly code: string; readonly uid: string | undefined }): void;
}

/** OpenTelemetry spans of RPCs and remote calls, sent to a collector. Loaded only where the config has `traces`. */
export class Traces {
  readonly #log: Log;
  readonly #provider: TracerProvider;
  readonly #tracer: Tracer;
  readonly #current = new AsyncLocalStorage<Span>();

  constructor({ otlpEndpoint, sampleRatio }: TracesConfig, log: Log) {
    this.#log = log;
    this.#provider = new TracerProvider({
      resource: resourceFromAttributes({ 'service.name': 'sealwax', 'service.version': version }),
      sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(sampleRatio) }),
      spanProcessors: [new BatchSpanProcessor({ exporter: new LoggedExporter({ url: otlpEndpoint }, log) })],
    });
    this.#tracer = this.#provider.getTracer('sealwax', version);
  }

  beginRpc(method: string): RpcSpan {
    const span = this.#tracer.startSpan(`v2.KeyManagementService/${method}`, { kind: SpanKind.SERVER }, ROOT_CONTEXT);
    return {
      within: (work) => this.#current.run(span, work),
      end: ({ code, uid }) => {
        span.setAttributes({ 'rpc.system': 'grpc', 'rpc.method': method, 'sealwax.code': code });
        if (uid !== undefined) span.setAttribute('kubernetes.request.uid', uid);
        if (code !== 'OK') span.setStatus({ code: SpanStatusCode.ERROR });
        span.end();
      },
    };
  }

  /** A remote call that is over; a child of the RPC that caused it, if one did. */
  remoteCall({ key, operation, code, durationMs }: RemoteCall): void {
    const cause = this.#current.getStore();
    const parent = cause === undefined ? ROOT_CONTEXT : trace.setSpan(ROOT_CONTEXT, cause);
    const endTime = Date.now();
    const attributes = { 'sealwax.key': key, 'sealwax.operation': operation, 'sealwax.code': code };
    const span = this.#tracer.startSpan(
      `kms ${operation}`,
      { kind: SpanKind.CLIENT, startTime: endTime - durationMs, attributes },
      parent,
    );
    if (code !== 'ok') span.setStatus({ code: SpanStatusCode.ERROR });
    span.end(endTime);
  }

  /** Sends what is not yet sent, for 2 s at most: a collector that is away must not hold up the end. Never fails. */
  async close(): Promise<void> {
    const over = new AbortController();
    const late = sleep(CLOSE_MS, undefined, { signal: over.signal }).then(() => {
      throw new Error(`not done within ${CLOSE_MS / 1000} s`);
    });
    try {
      await Promise.race([this.#provider.shutdown(), late]);
    } catch (error) {
      this.#log.warn({ error }, 'traces: the last spans were not sent');
    } finally {
      over.abort();
    }
  }
}

/** Says in the log that spans cannot be sent: once, until some were sent again. */
class LoggedExporter extends OTLPTraceExporter {
  readonly #log: Log;
  #failing = false;

  constructor(config: { readonly url: string }, log: Log) {
    super(config);
    this.#log = log;
  }

  override export(...[spans, done]: Parameters<OTLPTraceExporter['export']>): void {
    super.export(spans, (result) => {
      const { error } = result;
      if (error !== undefined && !this.#failing) {
        this.#log.warn({ error }, 'traces: spans cannot be sent and are dropped');
      }
      this.#failing = error !== undefined;
      done(result);
    });
  }
}
