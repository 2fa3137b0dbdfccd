import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, lstat, mkdir, readFile, readdir, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import path from 'node:path';
import { ConfigError } from '@sealwax/core';
import { describe, expect, onTestFinished, test } from 'vitest';
import { listen, type SocketOptions } from '../src/socket.js';
import { modesSeen } from './modes-seen.js';
import { temporaryDirectory } from './temporary-directory.js';

const isRoot = process.geteuid?.() === 0;
const OTHER_GID = 65_534;
const ignore = () => undefined;

async function opened(options: Partial<SocketOptions> & { path: string }, onConnection: (s: Socket) => void = ignore) {
  const socket = await listen({ mode: '0600', ...options }, onConnection);
  onTestFinished(() => socket.close());
  return socket;
}

const newPath = async () => path.join(await temporaryDirectory(), 'kms.sock');
const modeOf = async (file: string) => ((await lstat(file)).mode & 0o777).toString(8);

/** Whether somebody accepts at `file`; else the code of the refusal. */
async function accepts(file: string): Promise<true | string> {
  return new Promise((resolve) => {
    const client = connect(file);
    client.once('connect', () => {
      client.destroy();
      resolve(true);
    });
    client.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code ?? error.message);
    });
  });
}

/** A socket whose process was killed. */
async function leaveStale(file: string): Promise<void> {
  const script = `require('node:net').createServer().listen(${JSON.stringify(file)}, () => process.stdout.write('up'))`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'close');
  expect(await accepts(file)).toBe('ECONNREFUSED');
}

async function expectRefused(options: Partial<SocketOptions> & { path: string }, reason: RegExp): Promise<void> {
  const error: unknown = await listen({ mode: '0600', ...options }, ignore).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(ConfigError);
  expect((error as ConfigError).message).toMatch(reason);
}

test('connections reach the one who listens', async () => {
  const file = await newPath();
  await opened({ path: file }, (connection) => connection.end('hello'));
  const client = connect(file);
  const [data] = (await once(client, 'data')) as [Buffer];
  expect(data.toString()).toBe('hello');
});

describe('mode and group', () => {
  test.each(['0600', '0660', '0640', '0400'])('%s is the mode, whatever the umask', async (mode) => {
    for (const umask of [0o000, 0o077, 0o777]) {
      const file = await newPath();
      const before = process.umask(umask);
      onTestFinished(() => void process.umask(before));
      await opened({ path: file, mode });
      expect(process.umask(before)).toBe(umask);
      expect(await modeOf(file)).toBe(String(Number(mode)));
    }
  });

  test.runIf(isRoot)('the group is the one named, by number or by name', async () => {
    const byNumber = await newPath();
    await opened({ path: byNumber, mode: '0660', group: OTHER_GID });
    expect((await lstat(byNumber)).gid).toBe(OTHER_GID);
    const [, name, gid] = /^([a-z]+):[^:]*:([1-9]\d*):/m.exec(await readFile('/etc/group', 'utf8'))!;
    const byName = await newPath();
    await opened({ path: byName, mode: '0660', group: name! });
    expect((await lstat(byName)).gid).toBe(Number(gid));
  });

  test('a group that does not exist is refused, and nothing is made', async () => {
    const file = path.join(await temporaryDirectory(), 'run', 'kms.sock');
    await expectRefused({ path: file, group: 'no-such-group' }, /socket\.group.*no-such-group/);
    expect(existsSync(path.dirname(file))).toBe(false);
  });

  test('neither is wider than asked for, not for a moment, under its own or any other name', async () => {
    const file = await newPath();
    const group = isRoot ? OTHER_GID : process.getegid!();
    const own = process.getegid!();
    const umask = process.umask(0);
    onTestFinished(() => void process.umask(umask));
    const names = new Set<string>();
    const seen = await modesSeen([file, `${file}.new`], async () => {
      for (let round = 0; round < 300; round += 1) {
        const socket = await listen({ path: file, mode: '0660', group }, ignore);
        for (const name of await readdir(path.dirname(file))) names.add(name);
        await socket.close();
      }
    });
    expect(seen[file]).toEqual([`660 ${group}`]);
    // The name under which it is made ready: narrow until the group is right.
    expect(seen[`${file}.new`]!.length).toBeGreaterThan(0);
    for (const state of seen[`${file}.new`]!) {
      expect([`600 ${own}`, `600 ${group}`, `660 ${group}`]).toContain(state);
    }
    expect([...names]).toEqual(['kms.sock']);
  });
});

describe('the parent directory', () => {
  test('that is missing is made with mode 0750 and the group of the socket', async () => {
    const file = path.join(await temporaryDirectory(), 'run', 'kms.sock');
    const umask = process.umask(0o077);
    onTestFinished(() => void process.umask(umask));
    const group = isRoot ? OTHER_GID : process.getegid!();
    await opened({ path: file, mode: '0660', group });
    const stats = await stat(path.dirname(file));
    expect(stats.mode & 0o777).toBe(0o750);
    expect(stats.gid).toBe(group);
  });

  test('that is there keeps its mode', async () => {
    const directory = await temporaryDirectory();
    await chmod(directory, 0o711);
    await opened({ path: path.join(directory, 'kms.sock') });
    expect((await stat(directory)).mode & 0o777).toBe(0o711);
  });

  test('stays when the socket is closed', async () => {
    const file = path.join(await temporaryDirectory(), 'run', 'kms.sock');
    const socket = await opened({ path: file });
    await socket.close();
    expect(await readdir(path.dirname(file))).toEqual([]);
  });

  test('that cannot be made is refused', async () => {
    const directory = await temporaryDirectory();
    await writeFile(path.join(directory, 'file'), '');
    await expectRefused({ path: path.join(directory, 'file', 'kms.sock') }, /socket/);
  });
});

describe('what is at the path already', () => {
  test('a socket whose process is gone is replaced', async () => {
    const file = await newPath();
    await leaveStale(file);
    await opened({ path: file });
    expect(await accepts(file)).toBe(true);
  });

  test('a socket whose process was killed while it started is replaced', async () => {
    const file = await newPath();
    await leaveStale(`${file}.new`);
    await opened({ path: file });
    expect(await accepts(file)).toBe(true);
    expect(await readdir(path.dirname(file))).toEqual(['kms.sock']);
  });

  test('a living socket is refused and goes on', async () => {
    const file = await newPath();
    await opened({ path: file, mode: '0640' });
    const before = await lstat(file);
    await expectRefused({ path: file }, /served by another process/);
    expect(await lstat(file)).toMatchObject({ ino: before.ino, mode: before.mode });
    expect(await accepts(file)).toBe(true);
    expect(await readdir(path.dirname(file))).toEqual(['kms.sock']);
  });

  test('a living socket that accepts nobody at the moment is refused too', async () => {
    const file = await newPath();
    const other = createServer(ignore).listen(file);
    await once(other, 'listening');
    onTestFinished(() => void other.close());
    await expectRefused({ path: file }, /served by another process/);
  });

  test.each(['', '.new'])('a file at the path%s is refused and left as it is', async (suffix) => {
    const file = await newPath();
    await writeFile(`${file}${suffix}`, 'precious');
    await expectRefused({ path: file }, /no socket; it is left untouched/);
    expect(await readFile(`${file}${suffix}`, 'utf8')).toBe('precious');
    expect(await readdir(path.dirname(file))).toEqual([`kms.sock${suffix}`]);
  });

  test('a directory is refused and left as it is', async () => {
    const file = await newPath();
    await mkdir(file);
    await expectRefused({ path: file }, /no socket/);
    expect((await lstat(file)).isDirectory()).toBe(true);
  });

  test('a symbolic link is refused and left as it is, wherever it leads', async () => {
    const directory = await temporaryDirectory();
    const [file, target] = [path.join(directory, 'kms.sock'), path.join(directory, 'target.sock')];
    await leaveStale(target);
    await symlink(target, file);
    await expectRefused({ path: file }, /no socket/);
    expect(await readlink(file)).toBe(target);
    expect((await lstat(target)).isSocket()).toBe(true);
  });

  test.each([
    ['nothing is there', () => Promise.resolve()],
    ['a stale socket is there', (file: string) => leaveStale(file)],
    ['one was killed while it started', (file: string) => leaveStale(`${file}.new`)],
  ])('of two that start at once, one listens and the other is refused: %s', async (_what, prepare) => {
    for (let round = 0; round < 10; round += 1) {
      const file = await newPath();
      await prepare(file);
      const outcomes = await Promise.allSettled([1, 2].map(() => listen({ path: file, mode: '0600' }, ignore)));
      const open = outcomes.filter((outcome) => outcome.status === 'fulfilled');
      expect(open).toHaveLength(1);
      expect(await accepts(file)).toBe(true);
      await open[0]!.value.close();
    }
  });
});

describe('closing', () => {
  test('removes the socket', async () => {
    const file = await newPath();
    const socket = await opened({ path: file });
    await socket.close();
    expect(existsSync(file)).toBe(false);
  });

  test('leaves a socket that has taken its place', async () => {
    const file = await newPath();
    const socket = await opened({ path: file });
    await rm(file);
    await opened({ path: file });
    await socket.close();
    expect(await accepts(file)).toBe(true);
  });

  test('does not fail when the socket, or its directory, is gone', async () => {
    const file = path.join(await temporaryDirectory(), 'run', 'kms.sock');
    const socket = await opened({ path: file });
    await rm(path.dirname(file), { recursive: true });
    await socket.close();
  });

  test('leaves the connections that are open', async () => {
    const file = await newPath();
    const accepted = new Promise<Socket>((resolve) => void opened({ path: file }, resolve).then((s) => (socket = s)));
    let socket: { close(): Promise<void> } | undefined;
    while (socket === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
    const client = connect(file);
    const connection = await accepted;
    await socket.close();
    connection.end('still here');
    const [data] = (await once(client, 'data')) as [Buffer];
    expect(data.toString()).toBe('still here');
  });
});
