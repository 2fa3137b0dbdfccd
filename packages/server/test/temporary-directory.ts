import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { onTestFinished } from 'vitest';

/**
 * A new directory, removed when the test is over.
 *
 * @param atEnd - `atEndOfFile` for a directory that the tests of a file share
 */
export async function temporaryDirectory(
  atEnd: (remove: () => Promise<void>) => void = onTestFinished,
): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), 'sealwax-server-'));
  atEnd(() => rm(directory, { recursive: true, force: true }));
  return directory;
}
