import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { onTestFinished } from 'vitest';

/**
 * A new directory, removed when the test is over.
 *
 * @param atEnd - `onTestFinished` of the test's own context where tests run concurrently: Vitest cannot tell there which one asks
 */
export async function temporaryDirectory(atEnd = onTestFinished): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), 'sealwax-core-'));
  atEnd(() => rm(directory, { recursive: true, force: true }));
  return directory;
}
