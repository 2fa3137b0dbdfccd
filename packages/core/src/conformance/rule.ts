import type { FaultName } from './harness.js';
import type { Stage } from './stage.js';

/** What a harness may be unable to offer. */
export type Need = FaultName | 'moduleUrl';

/** One demand on every backend; becomes a case once there is a harness. */
export interface Rule {
  /** `<theme>: <the demand>`. */
  readonly name: string;
  readonly needs?: readonly Need[];
  /** @throws {AssertionError} when the backend does not meet the demand */
  readonly run: (stage: Stage) => Promise<void>;
}
