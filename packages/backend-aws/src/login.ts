import { BackendError, type Host } from '@sealwax/core';
import { toLoginError } from './errors.js';
import { orAborted } from './or-aborted.js';

/** An access key, for a time or until it is deleted. */
export interface Identity {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  readonly expiration?: Date;
}

/** Fetches an identity anew, each time. */
export type CredentialSource = () => Promise<Identity>;

/**
 * A login serves many callers, so none of their signals may end it. And the SDK sets no limit to a `credential_process`, nor to the answer of a
 * container's endpoint.
 */
const LOGIN_LIMIT_MS = 10_000;
/** A session is renewed this long before its end, or in its last quarter if it is a short one. */
const RENEW_BEFORE_MS = 5 * 60_000;
/** An access key without an end may be replaced in its file at any time: it is read again this often. */
const REREAD_MS = 30_000;

interface Held {
  readonly identity: Identity;
  readonly renewAtMs: number;
  readonly expiresAtMs: number;
}

/**
 * The identity in use. While it is good, a renewal goes on beside the calls, so that an STS that is away costs nothing until the session ends;
 * a rejected one is fetched again by the next call.
 */
export class Login {
  readonly #fetch: CredentialSource;
  readonly #doing: string;
  readonly #report: Host['report'];
  readonly #closing = new AbortController();
  #held: Held | undefined;
  #renewal: Promise<Identity> | undefined;

  constructor(fetch: CredentialSource, method: string, report: Host['report']) {
    this.#fetch = fetch;
    this.#doing = `aws: log in with ${method}`;
    this.#report = report;
  }

  /** @throws {BackendError} when there is none to be had */
  readonly identity = async (): Promise<Identity> => {
    const now = Date.now();
    if (this.#held !== undefined && now < this.#held.renewAtMs) return this.#held.identity;
    const renewal = this.#renew();
    if (this.#held === undefined || now >= this.#held.expiresAtMs) return renewal;
    // Said when it matters: by the call that finds the session at its end.
    renewal.catch(() => undefined);
    return this.#held.identity;
  };

  /** The service does not take the identity in use any more. */
  forget(): void {
    this.#held = undefined;
  }

  close(): void {
    this.#closing.abort();
  }

  #renew(): Promise<Identity> {
    this.#renewal ??= this.#fetchAndHold().finally(() => {
      this.#renewal = undefined;
    });
    return this.#renewal;
  }

  async #fetchAndHold(): Promise<Identity> {
    const limit = AbortSignal.timeout(LOGIN_LIMIT_MS);
    const ended = AbortSignal.any([limit, this.#closing.signal]);
    let identity: Identity;
    try {
      // What comes later is dropped: by then the next fetch may have brought something newer.
      identity = await orAborted(this.#fetch, ended);
    } catch (error) {
      if (!ended.aborted) throw toLoginError(error, this.#doing);
      const why = limit.aborted ? `no answer within ${LOGIN_LIMIT_MS} ms` : 'the backend is closing';
      throw new BackendError('unavailable', `${this.#doing}: ${why}`, { cause: error });
    }
    const now = Date.now();
    const { expiration } = identity;
    const leftMs = expiration === undefined ? REREAD_MS : expiration.getTime() - now;
    this.#held = {
      identity,
      renewAtMs: now + (expiration === undefined ? REREAD_MS : leftMs - Math.min(RENEW_BEFORE_MS, leftMs / 4)),
      expiresAtMs: now + leftMs,
    };
    this.#report({ kind: 'credential-expiry', at: expiration });
    return identity;
  }
}
