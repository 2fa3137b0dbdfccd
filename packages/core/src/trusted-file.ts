import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';

const MAX_BYTES = 1024 * 1024;

interface TrustOptions {
  /** Whose file is taken: of root and ourselves only, or of anybody, for a command that root runs on a service's own file. */
  readonly owner?: 'root-or-self' | 'anybody';
  /** 1 MiB when absent. */
  readonly maxBytes?: number;
}

/** A file cannot be read or may not be trusted. The message is `<path>: <reason>`. */
export class FileError extends Error {
  override readonly name = 'FileError';
}

/**
 * Reads a file that decides what we do or that holds a secret, and refuses it where somebody else could have written or read it.
 *
 * Checks and content come from one open file, so a swap in between cannot pass. Symbolic links are followed.
 *
 * @param forbiddenMode - permission bits that must not be set, for instance `0o077` for a private file
 * @throws {FileError} when it is missing, empty, too large, no regular file, belongs to another user than root and us, or has a forbidden bit
 */
export async function readTrustedFile(
  path: string,
  forbiddenMode: number,
  { owner = 'root-or-self', maxBytes = MAX_BYTES }: TrustOptions = {},
): Promise<Uint8Array> {
  const refuse = (reason: string, cause?: unknown) => new FileError(`${path}: ${reason}`, { cause });
  let file: FileHandle;
  try {
    // Without O_NONBLOCK, to open a named pipe is to wait for its writer.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw refuse(systemErrorText(error), error);
  }
  try {
    const stats = await file.stat();
    const ours = process.geteuid?.() ?? stats.uid;
    if (!stats.isFile()) throw refuse('not a regular file');
    if (owner === 'root-or-self' && stats.uid !== 0 && stats.uid !== ours) {
      throw refuse(`belongs to uid ${stats.uid}; only root and uid ${ours} are trusted`);
    }
    if ((stats.mode & forbiddenMode) !== 0) {
      throw refuse(
        `mode ${octal(stats.mode)} lets in too many; run: chmod ${octal(stats.mode & ~forbiddenMode)} ${path}`,
      );
    }
    if (stats.size === 0) throw refuse('the file is empty');
    if (stats.size > maxBytes) throw refuse(`the file has ${stats.size} bytes, more than ${maxBytes}`);
    return await file.readFile();
  } finally {
    await file.close();
  }
}

/** Whether `error` is the `FileError` of a file that does not exist. */
export function isMissingFile(error: unknown): error is FileError {
  return (
    error instanceof FileError && error.cause instanceof Error && 'code' in error.cause && error.cause.code === 'ENOENT'
  );
}

/** Permission bits as `0640`. */
function octal(mode: number): string {
  return (mode & 0o777).toString(8).padStart(4, '0');
}

/** A file system error without its code and path, for instance `no such file or directory`. */
export function systemErrorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return /^[A-Z0-9]+: ([^,]+)/.exec(error.message)?.[1] ?? error.message;
}
