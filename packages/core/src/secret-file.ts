import { unwatchFile, watchFile, type BigIntStats } from 'node:fs';
import { BackendError } from './backend-error.js';
import { FileError, readTrustedFile } from './trusted-file.js';

const CHANGE_POLL_MS = 2_000;
// Kubernetes' fsGroup makes mounted secrets readable by a group; nobody else, and no writer but the owner.
const FORBIDDEN_MODE = 0o027;

/**
 * A file that holds a secret. Symbolic links are followed at each read, so the `..data` swap of a Kubernetes volume is seen.
 *
 * Nothing is kept in memory: the caller overwrites what `read` returns when it is done with it.
 */
export interface SecretFile {
  readonly path: string;
  /**
   * Reads the file as it is now: 1 byte to 1 MiB.
   *
   * @throws {BackendError} `unauthenticated` when it is missing, empty, too large, no regular file, owned by another user than root and ours,
   *   or open to other users: without a secret to trust there is no login
   */
  read(): Promise<Uint8Array>;
  /** Calls `listener` within seconds of each change, until `signal` aborts. */
  onChange(listener: () => void, signal: AbortSignal): void;
}

/** @param owner - who asks; the start of each message, for instance `vault` */
export function secretFile(path: string, owner: string): SecretFile {
  return {
    path,
    async read() {
      try {
        return await readTrustedFile(path, FORBIDDEN_MODE);
      } catch (error) {
        if (!(error instanceof FileError)) throw error;
        throw new BackendError('unauthenticated', `${owner}: read secret file: ${error.message}`, { cause: error });
      }
    },
    onChange(listener, signal) {
      onFileChange(path, listener, signal);
    },
  };
}

/** Calls `listener` within seconds of each change of the file, also when it appears or another takes its place, until `signal` aborts. */
export function onFileChange(path: string, listener: () => void, signal: AbortSignal): void {
  if (signal.aborted) return;
  // Polls stat() instead of inotify: the swap of a symbolic link further up the path is no event on the file's own directory.
  const onStat = (current: BigIntStats, previous: BigIntStats) => {
    // The time of change too: a file whose mode or owner was mended may be read from now on.
    if (current.ino !== previous.ino || current.ctimeNs !== previous.ctimeNs) listener();
  };
  watchFile(path, { bigint: true, persistent: false, interval: CHANGE_POLL_MS }, onStat);
  signal.addEventListener('abort', () => {
    // Without the listener, all who watch this path would be cut off.
    unwatchFile(path, onStat);
  });
}
