import type { Backend, Host } from '@sealwax/core';
import type { LittleBackend, LittleConfig } from '../little-backend.js';

/** A way in which a backend can be wrong. */
export interface Flaw {
  /** The cases of the kit that must fail because of it. */
  readonly caughtBy: readonly string[];
  /** A part of what each of them must then say, where that is to lead to the flaw. */
  readonly says?: string;
  /** The methods that have the flaw, made of those of a good backend. */
  readonly spoil: (
    good: LittleBackend,
    lent: { readonly host: Host; readonly config: LittleConfig },
  ) => Partial<Backend>;
  /** Instead of what the good backend does when it is opened. */
  readonly open?: (good: LittleBackend, host: Host) => Promise<unknown>;
}

export type Flaws = Readonly<Record<string, Flaw>>;
