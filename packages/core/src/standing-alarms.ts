import type { LocalKeyRecord } from './envelope.js';
import { REWRITE_COMMAND } from './kek-guard.js';
import type { LoopState } from './key-loop.js';

interface Circumstances {
  readonly keyStates: readonly LoopState[];
  /** Of the snapshot in use, if there is one. */
  readonly sealed: readonly LocalKeyRecord[] | undefined;
  /** One sentence for each lost KEK. */
  readonly losses: readonly string[];
  /** How often a KEK was replaced beneath its name in this generation. */
  readonly replacements: number;
}

/** What an operator has to look at, for as long as he has to; one sentence each. */
export function standingAlarms({ keyStates, sealed, losses, replacements }: Circumstances): readonly string[] {
  const carried = new Set(sealed?.map(({ keyName }) => keyName));
  return [
    ...losses,
    ...(replacements === 0
      ? []
      : [
          'a KEK was replaced beneath its name: raise "generation" in the config on all nodes, then rewrite the data: ' +
            REWRITE_COMMAND,
        ]),
    ...keyStates
      .filter(({ name, role }) => sealed !== undefined && role !== 'read' && !carried.has(name))
      .map(
        ({ name }) =>
          `new data cannot be opened by key ${JSON.stringify(name)}: the local key in use has no record of it`,
      ),
    ...keyStates
      .filter(({ state }) => state === 'failing')
      .map(({ name, error }) => `key ${JSON.stringify(name)} is failing: ${error?.message ?? 'no reason given'}`),
  ];
}
