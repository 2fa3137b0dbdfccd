import { conformanceCases, type Harness } from '@sealwax/core/conformance';
import { describe, test } from 'vitest';

/** What depends on the mechanism: the bytes and the versions. The rest of the kit is about processes and logins, which all share. */
const ofTheMechanism = ['wrapping: ', 'buffers: ', 'tampering: ', 'kek id: ', 'rotation: '];

/**
 * The conformance kit as tests.
 *
 * @param extent - `mechanism`: without the cases that the same module played with another mechanism; with `--full`, all of them
 */
export function playKit(title: string, harness: Harness, extent: 'all' | 'mechanism' = 'all'): void {
  const all = extent === 'all' || process.env['SEALWAX_E2E_FULL'] === '1';
  const cases = conformanceCases(harness).filter(
    ({ name }) => all || ofTheMechanism.some((theme) => name.startsWith(theme)),
  );
  describe(`the conformance kit on ${title}`, () => {
    for (const { name, skip, run } of cases) {
      if (skip === undefined) test(name, { timeout: 120_000 }, run);
      else test.skip(`${name} (${skip})`);
    }
  });
}
