import { randomBytes } from 'node:crypto';
import { link, open, rename, rm } from 'node:fs/promises';
import path from 'node:path';

/**
 * Puts a file in place whole or not at all, and durably: when the promise resolves, a power cut cannot bring the old content back.
 *
 * Libraries for this leave out the sync of the directory, without which a rename may be undone. A key version that has wrapped data would be
 * lost with it.
 *
 * @param mode - permission bits of the file, whatever the umask
 * @param owner - who the file belongs to afterwards; ourselves if left out
 * @throws {NodeJS.ErrnoException} `EEXIST` when `onlyNew` and the file is there
 */
export async function writeFileAtomically(
  file: string,
  content: Uint8Array,
  {
    mode,
    onlyNew,
    owner,
  }: {
    readonly mode: number;
    readonly onlyNew: boolean;
    readonly owner?: { readonly uid: number; readonly gid: number };
  },
): Promise<void> {
  const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    const handle = await open(temporary, 'wx', mode);
    try {
      if (owner !== undefined) await handle.chown(owner.uid, owner.gid);
      await handle.chmod(mode);
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    // link() fails where the name is taken; rename() would replace it.
    await (onlyNew ? link(temporary, file) : rename(temporary, file));
  } finally {
    await rm(temporary, { force: true });
  }
  const directory = await open(path.dirname(file), 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
