import { z } from 'zod';

export const figureSchema = z.object({
  /** What was measured, the same in each run. */
  name: z.string(),
  /** Of what: `reference`, `sealwax`, or the name of another plugin. */
  subject: z.string(),
  unit: z.string(),
  /** One for each round; rounds of all subjects alternate. */
  values: z.array(z.number()).min(1),
  /** What the project holds itself to. */
  target: z.string().optional(),
});

/** One thing measured some times. */
export type Figure = z.infer<typeof figureSchema>;

export interface Spread {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

/** @throws {RangeError} without values */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const [low] = sorted;
  const high = sorted.at(-1);
  const lower = sorted[Math.floor((sorted.length - 1) / 2)];
  const upper = sorted[Math.ceil((sorted.length - 1) / 2)];
  if (low === undefined || high === undefined || lower === undefined || upper === undefined)
    throw new RangeError('nothing was measured');
  return { median: (lower + upper) / 2, low, high };
}

/**
 * `figure` as a part of `base`, round by round: what slows the machine down for a while slows both.
 *
 * Of different numbers of rounds, as in two runs, only the medians are compared; the spread is then the widest that both allow.
 */
export function ratioOf(figure: Figure, base: Figure): Spread {
  if (figure.values.length === base.values.length)
    return spreadOf(figure.values.map((value, round) => value / (base.values[round] ?? Number.NaN)));
  return independentRatio(figure, base);
}

/** `figure` as a part of `base`, which is of another run. */
export function independentRatio(figure: Figure, base: Figure): Spread {
  const mine = spreadOf(figure.values);
  const theirs = spreadOf(base.values);
  return { median: mine.median / theirs.median, low: mine.low / theirs.high, high: mine.high / theirs.low };
}
