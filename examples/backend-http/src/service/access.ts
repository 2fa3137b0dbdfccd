import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { Refusal } from './refusal.js';

/** What is wrong at the moment; set as a whole through the admin interface. */
export const troubles = z.strictObject({
  /** The key is switched off. */
  disabled: z.boolean().default(false),
  /** The key is gone. */
  deleted: z.boolean().default(false),
  /** Every right on the key is gone. */
  denied: z.boolean().default(false),
  /** No token is taken any more and none is given. */
  loginsRefused: z.boolean().default(false),
  /** Requests per second, over all clients; more are refused. */
  quotaPerSecond: z.number().min(0).optional(),
  /** Requests are taken and never answered. */
  stalled: z.boolean().default(false),
  /** Connections are reset. */
  down: z.boolean().default(false),
});

export type Troubles = z.infer<typeof troubles>;

export interface Credentials {
  readonly clientId: string;
  readonly clientSecret: string;
  readonly tokenSeconds: number;
}

/** Who may ask, and how often. */
export class Access {
  troubles: Troubles = troubles.parse({});
  readonly #credentials: Credentials;
  readonly #expiryOfToken = new Map<string, number>();
  #second = 0;
  #askedThisSecond = 0;

  constructor(credentials: Credentials) {
    this.#credentials = credentials;
  }

  login(clientId: string, clientSecret: string): { token: string; expiresInSeconds: number } {
    this.#count();
    const { clientId: id, clientSecret: secret, tokenSeconds } = this.#credentials;
    if (this.troubles.loginsRefused || !same(clientId, id) || !same(clientSecret, secret))
      throw new Refusal(401, 'bad-credentials');
    const token = randomBytes(24).toString('base64url');
    this.#expiryOfToken.set(token, performance.now() + tokenSeconds * 1000);
    return { token, expiresInSeconds: tokenSeconds };
  }

  /** Whether the bearer of `token` may use the key now. */
  check(token: string): void {
    this.#count();
    const expiresAt = this.#expiryOfToken.get(token) ?? 0;
    if (this.troubles.loginsRefused || performance.now() >= expiresAt) {
      this.#expiryOfToken.delete(token);
      throw new Refusal(401, 'token-expired');
    }
    if (this.troubles.denied) throw new Refusal(403, 'denied');
    if (this.troubles.deleted) throw new Refusal(404, 'no-such-key');
    if (this.troubles.disabled) throw new Refusal(409, 'key-disabled');
  }

  #count(): void {
    const second = Math.floor(performance.now() / 1000);
    if (second !== this.#second) this.#askedThisSecond = 0;
    this.#second = second;
    this.#askedThisSecond += 1;
    const { quotaPerSecond } = this.troubles;
    if (quotaPerSecond !== undefined && this.#askedThisSecond > quotaPerSecond)
      throw new Refusal(429, 'quota-exceeded', { retryAfterSeconds: 1 });
  }
}

function same(given: string, expected: string): boolean {
  const hash = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(given), hash(expected));
}
