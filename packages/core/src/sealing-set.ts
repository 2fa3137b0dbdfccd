/** A key that may wrap new local keys, as the choice depends on it. */
export interface Candidate {
  readonly name: string;
  readonly required: boolean;
  /** Its last turn went well. */
  readonly ready: boolean;
  /** The KEK version in use, once read. */
  readonly kekId: string | undefined;
}

interface Circumstances {
  /** Records of the newest local key; `undefined` when there is none. */
  readonly sealed: readonly { readonly keyName: string; readonly kekId: string }[] | undefined;
  /** Since the ring was made. */
  readonly sinceStartMs: number;
  /** For how long every candidate has been ready; `undefined` when one is not. */
  readonly completeForMs: number | undefined;
  /** The config asks for another key id than that local key has. */
  readonly stale: boolean;
  /** What one of those records wraps cannot be unwrapped any more. */
  readonly lost: boolean;
}

/** The config's section `publish`, as far as it is about the set. */
export interface SetRule {
  /** At start, how long to wait for every key before the first local key is wrapped under those that answer. */
  readonly startMs: number;
  /** How long the set must have been complete before a local key that lacks a record is replaced. */
  readonly completeMs: number;
}

/**
 * Under which keys a new local key is to be wrapped now; none when the one in use is to stay.
 *
 * - The first one: under all, or after `startMs` under those that are ready. `required` never holds it up.
 * - A KEK that rotated, or a config that asks for another set or id: under those that are ready, unless that would leave out one of the set that went
 *   away, or one that is required. A set never shrinks because a KMS is away.
 * - A record that was lost: under those that are ready, at once.
 * - A key that is missing in the set: once all have been ready for `completeMs`.
 */
export function membersToSealUnder(
  candidates: readonly Candidate[],
  { sealed, stale, lost, sinceStartMs, completeForMs }: Circumstances,
  rule: SetRule,
): readonly string[] {
  const ready = candidates.filter((candidate) => candidate.ready);
  if (ready.length === 0) return [];
  const names = ready.map(({ name }) => name);
  if (sealed === undefined) {
    return ready.length === candidates.length || sinceStartMs >= rule.startMs ? names : [];
  }
  if (lost) return names;

  const kekIdOf = new Map(sealed.map(({ keyName, kekId }) => [keyName, kekId]));
  const outdated =
    stale ||
    ready.some(({ name, kekId }) => kekIdOf.has(name) && kekIdOf.get(name) !== kekId) ||
    sealed.some(({ keyName }) => !candidates.some(({ name }) => name === keyName));
  if (outdated) {
    const held = candidates.some(
      (candidate) => !candidate.ready && (candidate.required || kekIdOf.has(candidate.name)),
    );
    return held ? [] : names;
  }
  const missing = candidates.some(({ name }) => !kekIdOf.has(name));
  return missing && completeForMs !== undefined && completeForMs >= rule.completeMs ? names : [];
}
