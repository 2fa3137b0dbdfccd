import { mkdir, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

/**
 * An empty directory for the files, sockets and logs of one test file.
 *
 * `run.ts` names the parent, and removes it when everything passed. The path stays short: a socket's may have 107 bytes.
 */
export async function testDirectory(name: string): Promise<string> {
  const parent = process.env['SEALWAX_E2E_DIRECTORY'] ?? (await mkdtemp(path.join(tmpdir(), 'sealwax-e2e-')));
  const directory = path.join(parent, name);
  await mkdir(directory);
  return directory;
}
