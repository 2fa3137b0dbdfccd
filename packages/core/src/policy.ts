import type { BackendErrorCode } from './backend-error.js';

/**
 * What follows from the state of the keys. Pure: no clock, no timer, no call; durations come in and are on the monotonic clock.
 * docs/operations.md tells the operator the same in words.
 */

/** What a failure means for the local keys in memory. */
export type Trouble =
  /** No answer, or one that says nothing about the key: what is in memory goes on. A rejected login is one too: the credential's fault. */
  | 'outage'
  /** The KMS knows us and says no: somebody may have meant it. */
  | 'refusal'
  /** What was wrapped cannot be unwrapped any more: what is in memory may be the last copy. */
  | 'loss';

/** Total, so that a new code cannot be forgotten. */
const TROUBLE_OF: Readonly<Record<BackendErrorCode, Trouble>> = {
  unavailable: 'outage',
  throttled: 'outage',
  unauthenticated: 'outage',
  internal: 'outage',
  'permission-denied': 'refusal',
  'key-disabled': 'refusal',
  'key-not-found': 'loss',
  'invalid-ciphertext': 'loss',
};

export function troubleOf(code: BackendErrorCode): Trouble {
  return TROUBLE_OF[code];
}

/** What the API server is told when a KMS is away or refuses; the config's sections `outage` and `refusal`. */
export interface Policy {
  readonly outage: {
    readonly graceMs: number;
    /** `stay-ok`: ok, with an alarm. `unready`: not ok, with the key id. `stop-writes`: not ok, without key id. */
    readonly then: 'stay-ok' | 'unready' | 'stop-writes';
  };
  readonly refusal: {
    readonly afterMs: number;
    /** `report`: not ok, without key id. `wipe`: also destroys the local keys that no other configured key opens. */
    readonly action: 'report' | 'wipe';
  };
}

/** One key, as far as Status depends on it. */
export interface KeyHealth {
  readonly name: string;
  /** Whether it wraps new local keys: its role is `write` or `recover`. */
  readonly seals: boolean;
  readonly writes: boolean;
  /** For how long the KMS has been away; `undefined` when it is not. */
  readonly outForMs: number | undefined;
  /** For how long every unwrap probe was refused while the login was good; `undefined` when the last one was not. */
  readonly refusedForMs: number | undefined;
  /** What it wrapped last cannot be unwrapped any more. */
  readonly lost: boolean;
}

/** What Status says. */
export type Shape =
  | { readonly kind: 'ok' }
  /** Not ok with the key id: `/readyz` of the API server fails, reads and writes go on. */
  | { readonly kind: 'unready'; readonly reason: string }
  /** Not ok without key id: the API server stops writing after 3 minutes. */
  | { readonly kind: 'stop-writes'; readonly reason: string };

/**
 * The shape of Status while something is sealed with.
 *
 * A refusal counts when it comes from the key that writes: it is the one an owner switches off to stop his cluster. An outage or a loss counts
 * when it has befallen every key that seals: one that works is enough to open everything again.
 */
export function statusShape(keys: readonly KeyHealth[], { outage, refusal }: Policy): Shape {
  const sealing = keys.filter(({ seals }) => seals);
  const refused = sealing.find(({ writes, refusedForMs }) => writes && isRefused(refusedForMs, refusal.afterMs));
  if (refused !== undefined) {
    return { kind: 'stop-writes', reason: `key ${JSON.stringify(refused.name)} is refused by its KMS` };
  }
  if (sealing.length > 0 && sealing.every(({ outForMs }) => outForMs !== undefined && outForMs >= outage.graceMs)) {
    const reason = 'no key that seals has reached its KMS since the grace period began';
    if (outage.then !== 'stay-ok') return { kind: outage.then, reason };
  }
  if (sealing.length > 0 && sealing.every(({ lost }) => lost)) {
    return { kind: 'unready', reason: 'no key that seals can unwrap what it wrapped; memory may hold the last copies' };
  }
  return { kind: 'ok' };
}

/** Names of the keys whose refusal is old enough for what only they open to be destroyed; none unless the config says `wipe`. */
export function refusedKeys(keys: readonly KeyHealth[], { refusal }: Policy): ReadonlySet<string> {
  if (refusal.action !== 'wipe') return new Set();
  return new Set(keys.filter(({ refusedForMs }) => isRefused(refusedForMs, refusal.afterMs)).map(({ name }) => name));
}

/** Whether a local key whose records name `recordNames` is to be destroyed: of the configured keys that could open it, every one refuses. */
export function isToBeWiped(
  recordNames: readonly string[],
  { refused, configured }: { readonly refused: ReadonlySet<string>; readonly configured: ReadonlySet<string> },
): boolean {
  const openers = recordNames.filter((name) => configured.has(name));
  return openers.length > 0 && openers.every((name) => refused.has(name));
}

function isRefused(refusedForMs: number | undefined, afterMs: number): boolean {
  return refusedForMs !== undefined && refusedForMs >= afterMs;
}
