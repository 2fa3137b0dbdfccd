import { writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { pointStackTracesAtSources } from '../../src/cli/source-maps.js';
import { temporaryDirectory } from '../temporary-directory.js';

const CODE = 'exports.fail = () => { throw new TypeError("a reason"); };';
/** Everything on the first line of the code is of the third line of its source, from the fifth column on. */
const MAP = {
  version: 3,
  names: [],
  sources: ['../src/failing.ts'],
  sourcesContent: ['\n\n    fail();\n'],
  mappings: 'AAEI',
};

// The test runner has one of its own.
const ofRunner = Object.getOwnPropertyDescriptor(Error, 'prepareStackTrace');
beforeEach(pointStackTracesAtSources);
afterEach(() => {
  Object.defineProperty(
    Error,
    'prepareStackTrace',
    ofRunner ?? { value: undefined, configurable: true, writable: true },
  );
});

/** What CODE throws, with `map` beside it. */
async function failWith(map: string | undefined): Promise<{ readonly directory: string; readonly stack: string[] }> {
  const directory = await temporaryDirectory();
  const file = path.join(directory, 'failing.cjs');
  await writeFile(file, CODE);
  if (map !== undefined) await writeFile(`${file}.map`, map);
  const { fail } = createRequire(import.meta.url)(file) as { readonly fail: () => never };
  return { directory, stack: stackOf(fail) };
}

function stackOf(fail: () => unknown): string[] {
  try {
    fail();
  } catch (error) {
    return (error as Error).stack?.split('\n') ?? [];
  }
  throw new Error('it did not fail');
}

test('a frame with a map beside its file names the source', async () => {
  const { directory, stack } = await failWith(JSON.stringify(MAP));
  expect(stack[0]).toBe('TypeError: a reason');
  expect(stack[1]).toBe(`    at exports.fail (${path.resolve(directory, '../src/failing.ts')}:3:5)`);
});

test.each([
  ['no map', undefined],
  ['a map that is none', '{'],
])('a frame with %s names the file that runs', async (_what, map) => {
  const { directory, stack } = await failWith(map);
  expect(stack[1]).toBe(`    at exports.fail (${path.join(directory, 'failing.cjs')}:1:30)`);
});

test('a frame of Node itself stays as it is', () => {
  expect(stackOf(() => new URL('no URL'))[1]).toMatch(/^ {4}at new URL \(node:internal\/url:\d+:\d+\)$/);
});
