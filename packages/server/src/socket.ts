import { lstatSync, readFileSync, renameSync, rmSync, type BigIntStats } from 'node:fs';
import { chmod, chown, lstat, mkdir, rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import path from 'node:path';
import { ConfigError, isConfigError, systemErrorText } from '@sealwax/core';

/** Where the socket is made and who may connect. */
export interface SocketOptions {
  readonly path: string;
  /** Octal digits, for instance `0600`. */
  readonly mode: string;
  readonly group?: string | number | undefined;
}

/** A unix socket that listens. */
export interface ListeningSocket {
  /** Stops accepting, and removes the socket's file unless another has taken its place. */
  close(): Promise<void>;
}

/**
 * Listens on a unix socket that nobody else could ever connect to.
 *
 * The socket is bound beside its path with mode 0600, given its group and mode there, and then renamed: it is never wider than asked for, and a stale
 * one is replaced in one step. Of two processes that start at once one holds the name beside the path, and the other is refused. A missing parent directory is made with mode 0750 and the socket's group, and never removed.
 *
 * @throws {ConfigError} when the path is taken by a living process or by something that is no socket, or the group does not exist
 */
export async function listen(
  options: SocketOptions,
  onConnection: (connection: Socket) => void,
): Promise<ListeningSocket> {
  const gid = options.group === undefined ? undefined : groupId(options.group);
  await makeParent(path.dirname(options.path), gid);
  const temporary = `${options.path}.new`;
  await removeStale(temporary);
  const server = createServer(onConnection);
  const ino = await bind(server, temporary);
  try {
    await refuseIfTaken(options.path);
    if (gid !== undefined) await chown(temporary, process.geteuid?.() ?? 0, gid);
    await chmod(temporary, parseInt(options.mode, 8));
    // Without a pause in between, so that nobody takes the name.
    if (lstatSync(temporary).ino !== ino) throw taken(temporary);
    renameSync(temporary, options.path);
  } catch (error) {
    // libuv removes the file that it bound.
    server.close();
    if (isConfigError(error)) throw error;
    throw new ConfigError('socket', `${options.path}: ${systemErrorText(error)}`, { cause: error });
  }
  return {
    async close() {
      server.close();
      const now = await lstat(options.path).catch(() => undefined);
      if (now?.ino === ino) await rm(options.path, { force: true });
    },
  };
}

/** Resolves, with the inode, when `server` listens on `file` with mode 0600. Fails when there is anything at `file`. */
async function bind(server: Server, file: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      reject(new ConfigError('socket.path', `${file}: ${systemErrorText(error)}`, { cause: error }));
    });
    // libuv binds before listen() returns, so the umask is ours for exactly that call.
    const umask = process.umask(0o177);
    server.listen(file);
    process.umask(umask);
    const ino = lstatSync(file, { throwIfNoEntry: false })?.ino ?? 0;
    server.once('listening', () => {
      resolve(ino);
    });
  });
}

async function makeParent(directory: string, gid: number | undefined): Promise<void> {
  try {
    const made = await mkdir(directory, { recursive: true, mode: 0o750 });
    if (made === undefined) return;
    await chmod(directory, 0o750);
    if (gid !== undefined) await chown(directory, process.geteuid?.() ?? 0, gid);
  } catch (error) {
    throw new ConfigError('socket.path', `${directory}: ${systemErrorText(error)}`, { cause: error });
  }
}

/** Removes a socket at `file` that no process listens on; what else is there is refused. */
async function removeStale(file: string): Promise<void> {
  const stale = await refuseIfTaken(file);
  if (stale === undefined) return;
  // Another process that starts may have put its own there meanwhile: looked at without a pause, and not by the inode alone, which is soon used again.
  const now = lstatSync(file, { bigint: true, throwIfNoEntry: false });
  if (now?.ino === stale.ino && now.ctimeNs === stale.ctimeNs) rmSync(file);
}

/** Resolves when nothing is at `file`, or, with what it is, a socket that no process listens on. */
async function refuseIfTaken(file: string): Promise<BigIntStats | undefined> {
  const found = await lstat(file, { bigint: true }).catch(() => undefined);
  if (found === undefined) return undefined;
  // A connect to a regular file is refused just as one to a stale socket: only lstat tells them apart.
  if (!found.isSocket())
    throw new ConfigError('socket.path', `${file} is there and is no socket; it is left untouched`);
  const living = await new Promise<boolean>((resolve) => {
    const probe = connect(file);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', (error) => {
      resolve(!('code' in error && (error.code === 'ECONNREFUSED' || error.code === 'ENOENT')));
    });
  });
  if (living) throw taken(file);
  return found;
}

function taken(file: string): ConfigError {
  return new ConfigError('socket.path', `${file} is served by another process; stop that one first`);
}

function groupId(group: string | number): number {
  if (typeof group === 'number') return group;
  // One line a group: name:password:gid:members (group(5)).
  const line = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .find((candidate) => candidate.startsWith(`${group}:`));
  const gid = Number(line?.split(':')[2]);
  if (!Number.isInteger(gid))
    throw new ConfigError('socket.group', `no group ${group} in /etc/group; a number works too`);
  return gid;
}
