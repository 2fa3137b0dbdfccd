import { afterAll } from 'vitest';

const endings: (() => void | Promise<void>)[] = [];

// Here, where the test file is being read: vitest does not hear an afterAll that is called while a beforeAll runs.
afterAll(async () => {
  for (const end of endings.reverse()) await end();
});

/** Ends what the tests of a file share, after the last of them; what came last goes first. */
export function atEndOfFile(end: () => void | Promise<void>): void {
  endings.push(end);
}
