import { once } from 'node:events';
import * as http from 'node:http';
import * as https from 'node:https';
import { systemErrorText } from '@sealwax/core';
import { VaultFailure } from './vault-failure.js';

const MAX_ANSWER_BYTES = 1024 * 1024;
/** How long a node may keep us waiting while there is another one to ask. */
const NODE_LIMIT_MS = 3_000;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const GOOD: ReadonlySet<number> = new Set([200, 204]);

export interface VaultRequest {
  readonly method: string;
  /** Beginning with `/v1/`. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** JSON; `undefined` for none. */
  readonly body: string | undefined;
  readonly signal: AbortSignal;
}

export interface VaultAnswer {
  readonly status: number;
  readonly body: unknown;
}

interface RawAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: unknown;
}

/** Sends requests to the nodes of one cluster: to the one that answered last, and to the others in turn when it does not. */
export class Transport {
  /** Origins; nobody else ever gets a request, and with it the token. */
  readonly #nodes: readonly string[];
  readonly #secure: http.Agent;
  readonly #plain = new http.Agent({ keepAlive: true, timeout: 30_000 });
  #preferred = 0;

  /** @param secure - for https; its owner destroys it */
  constructor(nodes: readonly string[], secure: http.Agent) {
    this.#nodes = nodes;
    this.#secure = secure;
  }

  close(): void {
    this.#plain.destroy();
  }

  /** @throws {VaultFailure} for every answer but 200 and 204 */
  async send(request: VaultRequest): Promise<VaultAnswer> {
    const first = this.#preferred;
    let failure: unknown;
    for (let turn = 0; turn < this.#nodes.length; turn += 1) {
      const index = (first + turn) % this.#nodes.length;
      try {
        return await this.#ask(index, request, { isLast: turn === this.#nodes.length - 1 });
      } catch (error) {
        request.signal.throwIfAborted();
        if (!(error instanceof VaultFailure) || !error.isOfTheNode) throw error;
        failure = error;
      }
    }
    throw failure;
  }

  async #ask(index: number, request: VaultRequest, { isLast }: { readonly isLast: boolean }): Promise<VaultAnswer> {
    const limited = isLast ? request.signal : AbortSignal.any([request.signal, AbortSignal.timeout(NODE_LIMIT_MS)]);
    let node = this.#nodes[index] ?? '';
    let raw = await this.#exchange(node, { ...request, signal: limited });
    if (REDIRECTS.has(raw.status)) {
      const target = redirectTarget(node, raw.headers.location);
      const active = this.#nodes.indexOf(target);
      if (active < 0) {
        throw VaultFailure.noAnswer(`a standby redirects to ${target}, which is none of the configured addresses`);
      }
      index = active;
      node = target;
      raw = await this.#exchange(node, { ...request, signal: limited });
      if (REDIRECTS.has(raw.status)) throw VaultFailure.noAnswer('the nodes redirect to each other: no leader yet');
    }
    if (!GOOD.has(raw.status)) {
      const errors = errorsIn(raw.body);
      // Whoever sends a 429 or a 5xx, they mean the same.
      if (errors === undefined && raw.status !== 429 && raw.status < 500) {
        throw VaultFailure.noAnswer(`something on the way answers ${raw.status} in place of Vault`);
      }
      throw VaultFailure.answered({
        status: raw.status,
        errors: errors ?? [],
        retryAfterMs: retryAfterMs(raw.headers['retry-after']),
      });
    }
    this.#preferred = index;
    return { status: raw.status, body: raw.body };
  }

  async #exchange(node: string, request: VaultRequest): Promise<RawAnswer> {
    for (;;) {
      const url = new URL(request.path, node);
      const isSecure = url.protocol === 'https:';
      const outgoing = (isSecure ? https : http).request(url, {
        method: request.method,
        agent: isSecure ? this.#secure : this.#plain,
        headers: {
          ...request.headers,
          // The Vault agent and proxy can demand it: what a browser can be tricked into sends none.
          'x-vault-request': 'true',
          ...(request.body !== undefined && {
            'content-type': 'application/json',
            'content-length': Buffer.byteLength(request.body),
          }),
        },
        signal: request.signal,
      });
      let hasAnswered = false;
      try {
        const responded = once(outgoing, 'response');
        outgoing.end(request.body);
        const [incoming] = (await responded) as [http.IncomingMessage];
        hasAnswered = true;
        const body = await readJson(incoming);
        return { status: incoming.statusCode ?? 0, headers: incoming.headers, body };
      } catch (error) {
        // The server closed a kept connection while we took it: nobody has read the request. Each such connection is met once.
        if (outgoing.reusedSocket && !hasAnswered && !request.signal.aborted && isReset(error)) continue;
        throw error instanceof VaultFailure ? error : VaultFailure.noAnswer(reasonOf(error), error);
      } finally {
        outgoing.destroy();
      }
    }
  }
}

async function readJson(incoming: http.IncomingMessage): Promise<unknown> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of incoming as AsyncIterable<Buffer>) {
    length += piece.length;
    if (length > MAX_ANSWER_BYTES) throw VaultFailure.noAnswer(`an answer of more than ${MAX_ANSWER_BYTES} bytes`);
    pieces.push(piece);
  }
  try {
    return JSON.parse(Buffer.concat(pieces).toString()) as unknown;
  } catch {
    // Empty, or of something on the way.
    return undefined;
  }
}

/** What stands in `errors`, empty for a key that is missing; `undefined` for a body that is not Vault's: it has that list wherever it says no. */
function errorsIn(body: unknown): readonly string[] | undefined {
  const errors: unknown = typeof body === 'object' && body !== null && 'errors' in body ? body.errors : undefined;
  return Array.isArray(errors) && errors.every((text) => typeof text === 'string') ? errors : undefined;
}

/** Both forms of RFC 9110 §10.2.3. */
function retryAfterMs(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  const ms = /^\d+$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

function redirectTarget(node: string, location: string | undefined): string {
  return location !== undefined && URL.canParse(location, node) ? new URL(location, node).origin : 'nowhere';
}

function isReset(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
}

function reasonOf(error: unknown): string {
  if (error instanceof Error && error.name === 'AbortError') return 'no answer in time';
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (code === 'ECONNREFUSED') return 'connection refused';
  if (isReset(error)) return 'connection reset';
  return systemErrorText(error)
    .replace(/[\p{Cc}\s]+/gu, ' ')
    .slice(0, 300);
}
