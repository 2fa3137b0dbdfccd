import type { FromChild } from '../protocol.js';

/** What came of a login. */
export type LoginOutcome = Extract<FromChild, { told: 'login' }>['outcome'];

/** Where the child gets the PIN from: the server, which keeps the rule that a wrong one is tried once. */
export interface PinSource {
  /**
   * @param triesLeft - as the token tells, `null` where it does not
   * @returns the PIN, to be overwritten after use
   * @throws {CallFailure} `unauthenticated` when there is none that may be tried
   */
  ask(triesLeft: number | null): Promise<Uint8Array>;
  tell(outcome: LoginOutcome, triesLeft: number | null): void;
}
