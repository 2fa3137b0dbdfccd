import { byteFlaws } from './bytes.js';
import { errorFlaws } from './errors.js';
import type { Flaws } from './flaw.js';
import { keyIdFlaws } from './key-ids.js';
import { lifetimeFlaws } from './lifetimes.js';

/** Every flaw by its name, which reads after "a backend that". */
export const FLAWS: Flaws = { ...keyIdFlaws, ...byteFlaws, ...errorFlaws, ...lifetimeFlaws };
