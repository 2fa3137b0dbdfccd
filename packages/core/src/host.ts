import type { Agent } from 'node:http';
import type { TlsFiles } from './https-agent.js';
import { proxyFor } from './proxy.js';
import { secretFile, type SecretFile } from './secret-file.js';

/** Something a backend knows and an operator wants to see. It becomes a metric and a line of `sealwax check`. */
export type Fact =
  /** When the credential in use stops working, `undefined` when it does not expire. */
  | { readonly kind: 'credential-expiry'; readonly at: Date | undefined }
  /** A figure of the backend's own. `name` is a metric name's last part: lower case, digits and `_`, unit at its end. */
  | { readonly kind: 'gauge'; readonly name: string; readonly value: number }
  /** Something that works and should be done otherwise. One sentence, no secret. */
  | { readonly kind: 'advice'; readonly text: string };

/** Begins the advice that stands in for a fact that cannot be shown. */
export const LEFT_OUT = 'a report of its backend is left out: ';

/** What the server lends to a backend, so that no vendor invents it. */
export interface Host {
  /** Aborts when the backend is to be closed. */
  readonly signal: AbortSignal;
  /** A file that holds a secret; see `SecretFile`. */
  secretFile(path: string): SecretFile;
  /**
   * An agent for `node:https` and every client built on it: keeps connections, goes through the proxy that HTTPS_PROXY and NO_PROXY
   * name, and trusts `caFile` instead of the system's CAs where that is given. Files that change count for the next connection.
   *
   * It is destroyed when `signal` aborts.
   *
   * @throws {BackendError} `unauthenticated` when a file cannot be read or may not be trusted
   */
  httpsAgent(files?: TlsFiles): Promise<Agent>;
  /** The proxy that HTTPS_PROXY and NO_PROXY name for `url`, for clients that do not speak through an agent; `undefined` for none. */
  proxyFor(url: string): URL | undefined;
  /** Tells the operator a fact; the newest of its kind (and name) counts. One that cannot be shown is left out, with an advice that says why. */
  report(fact: Fact): void;
}

/**
 * What a backend gets from whoever opens it: the server, or the conformance kit.
 *
 * @param owner - the backend's name, which starts the messages
 * @param report - gets each fact
 * @param signal - ends everything that was lent
 */
export function lendHost(owner: string, report: (fact: Fact) => void, signal: AbortSignal): Host {
  return {
    signal,
    secretFile: (path) => secretFile(path, owner),
    async httpsAgent(files = {}) {
      // node:https costs start time, and not every backend speaks HTTPS.
      const { httpsAgent } = await import('./https-agent.js');
      return httpsAgent(files, owner, signal);
    },
    proxyFor,
    report(fact) {
      const flaw = flawOf(fact);
      report(flaw === undefined ? fact : { kind: 'advice', text: `${LEFT_OUT}${flaw}` });
    },
  };
}

/** Backends in JavaScript have no types, and figures of a KMS may be missing: a date of nothing is no valid one. */
function flawOf(fact: unknown): string | undefined {
  const { kind, at, name, value, text } = (fact ?? {}) as Partial<Record<string, unknown>>;
  switch (kind) {
    case 'credential-expiry':
      return at === undefined || (at instanceof Date && Number.isFinite(at.getTime()))
        ? undefined
        : 'credential-expiry: "at" must be a valid Date, or undefined';
    case 'gauge':
      return typeof name === 'string' && /^[a-z][a-z0-9_]*$/.test(name) && Number.isFinite(value)
        ? undefined
        : 'gauge: "name" must be of lower case, digits and _, and "value" a finite number';
    case 'advice':
      return typeof text === 'string' && /^\P{Cc}+$/u.test(text) ? undefined : 'advice: "text" must be one line';
    default:
      return 'its "kind" must be credential-expiry, gauge or advice';
  }
}
