import type { RemoteLimits } from './key-loop.js';
import type { Key } from './key.js';
import type { Policy } from './policy.js';
import type { SetRule } from './sealing-set.js';
import type { PublishRule } from './snapshot.js';

/** The part of the options that a reload may change. */
export interface RingConfig {
  readonly generation: number;
  /** In the order of the config; exactly one of them writes. */
  readonly keys: readonly Key[];
  /** Names of keys that are gone for good, whatever remembered local keys they wrapped. */
  readonly retired: readonly string[];
  readonly limits: RemoteLimits & {
    /** Between two probes of a KEK version that is not in use any more. */
    readonly oldVersionsMs: number;
    readonly heldLocalKeys: number;
    readonly waitingDecrypts: number;
  };
  readonly publish: PublishRule & SetRule;
  readonly policy: Policy;
}
