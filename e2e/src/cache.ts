import { createHash } from 'node:crypto';
import { access, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';

/** What is kept between runs; outside the clone, so that a fresh clone finds it too. */
export function cacheDirectory(): string {
  const { SEALWAX_CACHE: own, XDG_CACHE_HOME: xdg } = process.env;
  if (own !== undefined && own !== '') return path.resolve(own);
  return path.join(xdg !== undefined && xdg !== '' ? xdg : path.join(homedir(), '.cache'), 'sealwax');
}

/** A file or a directory that is made once for each distinct set of inputs. */
export interface Cached {
  /** Its name, without the hash. */
  readonly name: string;
  /** Whatever the content depends on, besides the name. */
  readonly inputs: readonly (string | Uint8Array)[];
  /** Makes it as `target`; `workspace` is a directory without other content that is removed afterwards. */
  readonly make: (target: string, workspace: string) => Promise<void>;
}

/**
 * The path of what is cached, made now if it is not there.
 *
 * It is made elsewhere and put in place by a rename: an aborted build leaves nothing that a later run would take for whole. Of two runs at the
 * same time the later one wins where it is a file and the earlier one where it is a directory; their content is the same.
 */
export async function cached({ name, inputs, make }: Cached): Promise<string> {
  const hash = createHash('sha256');
  for (const input of inputs) hash.update(createHash('sha256').update(input).digest());
  const platform = `${process.platform}-${process.arch}`;
  const file = path.join(cacheDirectory(), `${name}-${platform}-${hash.digest('hex').slice(0, 16)}`);
  try {
    await access(file);
    return file;
  } catch {
    await mkdir(cacheDirectory(), { recursive: true });
    const workspace = await mkdtemp(path.join(cacheDirectory(), '.making-'));
    try {
      const target = path.join(workspace, name);
      await make(target, workspace);
      await rename(target, file).catch((error: unknown) => {
        if (!(error instanceof Error && 'code' in error && error.code === 'ENOTEMPTY')) throw error;
      });
      return file;
    } finally {
      await rm(workspace, { recursive: true, force: true });
    }
  }
}
