import type { KeyRing, KeyState, KmsService } from '@sealwax/core';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Facts } from './facts.js';
import { keyReport } from './key-report.js';
import type { Log } from './log.js';
import type { Metrics } from './metrics.js';

const BUSY_RETRY_MS = 5_000;
const BASE = 'http://localhost';
const TEXT = 'text/plain; charset=utf-8';

interface HttpOptions {
  /** `ADDRESS:PORT` */
  readonly address: string;
  readonly service: KmsService;
  readonly ring: KeyRing;
  readonly metrics: Metrics;
  readonly facts: Facts;
  readonly log: Log;
}

/**
 * Serves /livez, /readyz, /keys and /metrics. A busy port is logged and tried again for ever: it never stops the socket.
 *
 * @returns closes the server
 */
export function serveHttp({ address, service, ring, metrics, facts, log }: HttpOptions): () => void {
  const respond = (request: IncomingMessage, response: ServerResponse) => {
    const target = request.url ?? '/';
    // What a client sends need not be a URL ("//" is none).
    if (!URL.canParse(target, BASE)) {
      answer(response, 400, 'not a URL\n');
      return;
    }
    const url = new URL(target, BASE);
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      answer(response, 405, 'only GET\n');
    } else if (url.pathname === '/livez') {
      // The process and never the KMS: a kubelet that restarts us during an outage would throw away the local keys that bridge it.
      answer(response, 200, 'ok\n');
    } else if (url.pathname === '/readyz') {
      const { healthz } = service.health();
      const details = url.searchParams.has('verbose')
        ? [...ring.keyStates.map(describe), ...ring.standingAlarms.map((text) => `degraded: ${text}`)]
            .map((line) => `${line}\n`)
            .join('')
        : '';
      answer(response, healthz === 'ok' ? 200 : 503, `${details}${healthz}\n`);
    } else if (url.pathname === '/keys') {
      const report = keyReport(ring, { status: service.health(), facts });
      answer(response, 200, `${JSON.stringify(report)}\n`, 'application/json');
    } else if (url.pathname === '/metrics') {
      metrics.page().then(
        ({ text, contentType }) => {
          answer(response, 200, text, contentType);
        },
        (error: unknown) => {
          fail(response, error);
        },
      );
    } else {
      answer(response, 404, 'try /livez, /readyz, /readyz?verbose, /keys or /metrics\n');
    }
  };
  const fail = (response: ServerResponse, error: unknown) => {
    log.error({ error }, 'http');
    answer(response, 500, 'see the log\n');
  };
  const server = createServer((request, response) => {
    try {
      respond(request, response);
    } catch (error) {
      // Thrown on, it would end the process.
      fail(response, error);
    }
  });
  return keepListening(server, address, log);
}

/** One line of `/readyz?verbose`. */
function describe({ name, role, backend, state, forMs, lastGoodContactMs, kekId, error }: KeyState): string {
  const seconds = (ms: number) => `${Math.floor(ms / 1000)} s`;
  const parts = [
    `${state} for ${seconds(forMs)}`,
    kekId === undefined ? 'KEK id not read yet' : `KEK id ${kekId}`,
    lastGoodContactMs === undefined ? 'no good contact yet' : `last good contact ${seconds(lastGoodContactMs)} ago`,
    ...(error === undefined ? [] : [`${error.code}: ${error.message}`]),
  ];
  return `[${state === 'ready' ? '+' : '-'}] key ${name} (${role}, ${backend}): ${parts.join('; ')}`;
}

function answer(response: ServerResponse, status: number, body: string, contentType = TEXT): void {
  response.writeHead(status, { 'content-type': contentType, 'x-content-type-options': 'nosniff' }).end(body);
}

function keepListening(server: Server, address: string, log: Log): () => void {
  const colon = address.lastIndexOf(':');
  const host = address.slice(0, colon).replace(/^\[|\]$/g, '');
  const port = Number(address.slice(colon + 1));
  let retry: NodeJS.Timeout | undefined;
  const listen = () => {
    server.listen(port, host);
  };
  server.on('error', (error) => {
    log.warn({ address, error }, 'http: cannot listen; trying again');
    retry = setTimeout(listen, BUSY_RETRY_MS);
  });
  server.on('listening', () => {
    log.info({ address }, 'http: listening');
  });
  listen();
  return () => {
    clearTimeout(retry);
    server.close();
    server.closeAllConnections();
  };
}
