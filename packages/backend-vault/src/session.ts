import { BackendError, isBackendError, type Host } from '@sealwax/core';
import type { Login } from './login.js';
import { tokenOfLogin, type Token } from './token.js';
import { untilAborted } from './until-aborted.js';
import type { VaultClient } from './vault-client.js';
import { VaultFailure } from './vault-failure.js';

/** A login serves many callers, so none of their signals may end it. */
const LOGIN_LIMIT_MS = 10_000;
/** A token this young has whatever rights there are to be had: policies are bound to it when it is made. */
const FRESH_MS = 10_000;
const RENEW_AFTER = 2 / 3;
const SHORTEST_PAUSE_MS = 500;
/** The longest that setTimeout takes is 24.8 days. */
const LONGEST_PAUSE_MS = 24 * 60 * 60 * 1_000;

interface Held {
  readonly token: Token;
  readonly heldSinceMs: number;
  /** On the monotonic clock. */
  readonly expiresAtMs: number | undefined;
  usesLeft: number | undefined;
  /** The end of the line of those who use a token with a number of uses. */
  line: Promise<unknown>;
}

interface SessionOptions {
  readonly login: Login;
  readonly client: VaultClient;
  readonly host: Host;
}

/**
 * The token and its life: no login before the first request, one login for all who wait for it, renewal at two thirds, a new login where renewal ends, and one more try
 * with a new token for a request that is refused.
 */
export class Session {
  readonly #login: Login;
  readonly #client: VaultClient;
  readonly #host: Host;
  readonly #closing = new AbortController();
  #held: Held | undefined;
  #loggingIn: Promise<Held> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor({ login, client, host }: SessionOptions) {
    this.#login = login;
    this.#client = client;
    this.#host = host;
  }

  close(): void {
    this.#closing.abort();
    clearTimeout(this.#timer);
    this.#held = undefined;
  }

  /** The next request logs in first: the secret has changed. */
  forget(): void {
    clearTimeout(this.#timer);
    this.#held = undefined;
  }

  /**
   * Calls `request` with a token, and once more with a new one when the first is refused.
   *
   * @throws {BackendError} of the login
   * @throws {VaultFailure} of `request`
   */
  async use<T>(request: (token: string) => Promise<T>, signal: AbortSignal): Promise<T> {
    const held = await this.#current(signal);
    try {
      return await this.#spend(held, request, signal);
    } catch (error) {
      if (!(error instanceof VaultFailure) || !error.isForbidden) throw error;
      const other = await this.#insteadOf(held, error, signal);
      if (other === undefined) throw error;
      return await this.#spend(other, request, signal);
    }
  }

  /** A token for one request; what it takes of a number of uses is taken already. */
  async #current(signal: AbortSignal): Promise<Held> {
    for (;;) {
      const held = this.#usable ?? (await this.#fresh(signal));
      if (held.usesLeft === undefined) return held;
      // Of those who waited for one login, some may find its token used up.
      if (held.usesLeft > 0) {
        held.usesLeft -= 1;
        if (held.usesLeft === 0 && this.#held === held) this.forget();
        return held;
      }
    }
  }

  get #usable(): Held | undefined {
    const held = this.#held;
    return held?.expiresAtMs !== undefined && held.expiresAtMs <= performance.now() ? undefined : held;
  }

  /** Another token for a request that was refused with `held`; `undefined` when the refusal counts. */
  async #insteadOf(held: Held, refusal: VaultFailure, signal: AbortSignal): Promise<Held | undefined> {
    if (this.#held !== undefined && this.#held !== held) return this.#current(signal);
    if (refusal.isDeadToken) {
      this.forget();
      return this.#current(signal);
    }
    if (performance.now() - held.heldSinceMs < FRESH_MS) return undefined;
    try {
      await this.#fresh(signal);
    } catch (error) {
      // The token lives, so that no other is to be had is not why the request was refused.
      if (isBackendError(error) && error.code === 'unauthenticated') return undefined;
      throw error;
    }
    return this.#current(signal);
  }

  /** Makes `request` with a token that `#current` gave. */
  async #spend<T>(held: Held, request: (token: string) => Promise<T>, signal: AbortSignal): Promise<T> {
    const { value } = held.token;
    if (held.usesLeft === undefined) return request(value);
    // One after another: OpenBao 2.7 answers 500 to requests that race with the last use of their token.
    const turn = held.line.then(() => request(value));
    held.line = turn.catch(() => undefined);
    return untilAborted(turn, signal);
  }

  /** A new token, from a login that all who need one share. */
  async #fresh(signal: AbortSignal): Promise<Held> {
    this.#loggingIn ??= this.#logIn().finally(() => {
      this.#loggingIn = undefined;
    });
    return untilAborted(this.#loggingIn, signal);
  }

  async #logIn(): Promise<Held> {
    const limit = AbortSignal.timeout(LOGIN_LIMIT_MS);
    try {
      const token = await this.#login.logIn(AbortSignal.any([limit, this.#closing.signal, this.#host.signal]));
      return this.#hold(token);
    } catch (error) {
      if (isBackendError(error)) throw error;
      const why = limit.aborted ? `no answer within ${LOGIN_LIMIT_MS} ms` : 'the backend is closing';
      throw new BackendError('unavailable', `vault: log in at ${this.#login.at}: ${why}`, { cause: error });
    }
  }

  #hold(token: Token): Held {
    const now = performance.now();
    const { ttlMs, uses } = token;
    const held: Held = {
      token,
      heldSinceMs: now,
      expiresAtMs: ttlMs === undefined ? undefined : now + ttlMs,
      usesLeft: uses,
      line: Promise.resolve(),
    };
    if (this.#closing.signal.aborted) return held;
    this.#held = held;
    this.#host.report({
      kind: 'credential-expiry',
      at: ttlMs === undefined ? undefined : new Date(Date.now() + ttlMs),
    });
    this.#schedule(held);
    return held;
  }

  #schedule(held: Held): void {
    clearTimeout(this.#timer);
    // A token with a number of uses would spend them on being renewed.
    if (held.expiresAtMs === undefined || held.token.uses !== undefined) return;
    const leftMs = held.expiresAtMs - performance.now();
    if (leftMs <= 0) return;
    const pauseMs = Math.min(Math.max(leftMs * RENEW_AFTER, SHORTEST_PAUSE_MS), LONGEST_PAUSE_MS);
    this.#timer = setTimeout(() => {
      void this.#keepAlive(held);
    }, pauseMs).unref();
  }

  /** Never throws: what goes wrong here is tried again, and shows when the token has expired. */
  async #keepAlive(held: Held): Promise<void> {
    try {
      const renewed = held.token.renewable ? await this.#renew(held.token) : undefined;
      if (this.#held !== held) return;
      // Near its max TTL a token is renewed for less and less.
      const isWorthKeeping = renewed?.ttlMs === undefined || renewed.ttlMs > (held.token.ttlMs ?? 0) / 2;
      if (renewed !== undefined && (isWorthKeeping || !this.#login.makesTokens)) this.#hold(renewed);
      else await this.#fresh(this.#closing.signal);
    } catch {
      if (this.#held === held) this.#schedule(held);
    }
  }

  /** @returns `undefined` when Vault refuses: only a login can help */
  async #renew(token: Token): Promise<Token | undefined> {
    const signal = AbortSignal.any([AbortSignal.timeout(LOGIN_LIMIT_MS), this.#closing.signal, this.#host.signal]);
    const context = { namespace: this.#login.namespace, token: token.value };
    try {
      return tokenOfLogin(await this.#client.write('auth/token/renew-self', { body: {}, ...context }, signal));
    } catch (error) {
      const status = error instanceof VaultFailure ? error.answer?.status : undefined;
      if (status === 400 || status === 403) return undefined;
      throw error;
    }
  }
}
