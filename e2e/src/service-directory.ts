import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { testDirectory } from './test-directory.js';

/** Directories for the services of one test file, which `FaultCluster` keeps its own beside. */
export async function serviceDirectories<Name extends string>(
  test: string,
  names: readonly Name[],
): Promise<Readonly<Record<Name, string>>> {
  const root = await testDirectory(`${test}-services`);
  const entries = await Promise.all(
    names.map(async (name) => {
      const directory = path.join(root, name);
      await mkdir(directory);
      return [name, directory] as const;
    }),
  );
  return Object.fromEntries(entries) as Record<Name, string>;
}
