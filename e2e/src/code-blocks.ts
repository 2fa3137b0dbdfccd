import { readFile } from 'node:fs/promises';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '../..');

/**
 * The fenced blocks of a page below `docs/` whose info string is `info`, in their order.
 *
 * @param info - whole, for instance `sh test`
 */
export async function codeBlocks(page: string, info: string): Promise<readonly string[]> {
  const text = await readFile(path.join(root, 'docs', page), 'utf8');
  return [...text.matchAll(/^```(.*)\n([\s\S]*?)^```$/gm)]
    .filter(([, found]) => found?.trim() === info)
    .map(([, , block = '']) => block);
}
