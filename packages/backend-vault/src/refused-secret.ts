import { createHmac, randomBytes } from 'node:crypto';
import type { BackendError } from '@sealwax/core';

/** Pauses before the same secret is shown again, by how often it was refused; the last one for every time after. */
const PAUSES_MS = [2_000, 10_000, 16 * 60_000] as const;

/**
 * Keeps from showing a refused secret so often that Vault locks its owner out.
 *
 * With the defaults of `user_lockout`, five refusals lock a user or an AppRole for 15 minutes, for a good secret too, and they are counted until there
 * was none for 15 minutes. So a secret that was refused three times is shown again after 16 minutes; another one at once.
 *
 * @see https://developer.hashicorp.com/vault/docs/concepts/user-lockout
 */
export class RefusedSecret {
  readonly #hmacKey = randomBytes(32);
  #refusal:
    | { readonly digest: string; readonly error: BackendError; readonly atMs: number; readonly count: number }
    | undefined;

  /** @throws {BackendError} the refusal of `login`, when it is too early to try it again */
  throwAgain(login: Readonly<Record<string, string>>): void {
    if (this.#refusal?.digest !== this.#digest(login)) return;
    const { atMs, count, error } = this.#refusal;
    const pauseMs = PAUSES_MS[Math.min(count, PAUSES_MS.length) - 1] ?? 0;
    if (performance.now() - atMs < pauseMs) throw error;
  }

  note(login: Readonly<Record<string, string>>, error: BackendError): void {
    const digest = this.#digest(login);
    const before = this.#refusal?.digest === digest ? this.#refusal.count : 0;
    this.#refusal = { digest, error, atMs: performance.now(), count: before + 1 };
  }

  forget(): void {
    this.#refusal = undefined;
  }

  /** What stays in memory of a secret. */
  #digest(login: Readonly<Record<string, string>>): string {
    return createHmac('sha256', this.#hmacKey).update(JSON.stringify(login)).digest('hex');
  }
}
