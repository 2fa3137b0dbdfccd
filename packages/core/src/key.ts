import { isDeepStrictEqual } from 'node:util';
import type { BackendModule } from './backend.js';

/**
 * What a key is for.
 *
 * - `write`: wraps each new local key, and its name begins the key id. Exactly one.
 * - `recover`: wraps each new local key too, so that either can unwrap it.
 * - `read`: only unwraps what it wrapped before.
 */
export type Role = 'write' | 'recover' | 'read';

/** One configured key, its backend already chosen and its config section already checked. */
export interface Key {
  readonly name: string;
  readonly role: Role;
  /** A recover key that a rotation waits for. */
  readonly required: boolean;
  /** The backend's name in the config; starts the messages that core writes for it. */
  readonly backendName: string;
  readonly module: BackendModule<unknown>;
  readonly config: unknown;
}

/** Whether what is open for `a` can go on as that of `b`: only the role may differ. */
export function isSameKey(a: Key, b: Key): boolean {
  return (
    a.name === b.name &&
    a.backendName === b.backendName &&
    a.module === b.module &&
    isDeepStrictEqual(a.config, b.config)
  );
}
