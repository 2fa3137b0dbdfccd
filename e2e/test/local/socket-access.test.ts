import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Sealwax, type SealwaxOptions } from '../../src/sealwax.js';

const execFileAsync = promisify(execFile);
const clientAsUser = path.resolve(import.meta.dirname, '../../dist/client-as-user.js');

/** Without privileges; ids need no name. */
const user = { uid: 65534, gid: 65534 };
const otherGroup = { uid: 65534, gid: 65533 };

let directory: string;
let sealwax: Sealwax | undefined;
beforeEach(async () => {
  if (process.getuid?.() !== 0) throw new Error('run as root: this test becomes another user');
  // Not below the group's directory, which other users cannot enter whatever the socket's mode.
  directory = await mkdtemp(path.join(tmpdir(), 'sealwax-access-'));
  await chmod(directory, 0o755);
});
afterEach(async () => {
  await sealwax?.stop();
  sealwax?.client.close();
  await rm(directory, { recursive: true });
});

test('another user is refused by a socket of mode 0600', async () => {
  await mkdir(path.join(directory, 'run'), { mode: 0o755 });
  const { socketPath } = await serve({ socketMode: '0600' });
  expect((await stat(socketPath)).mode & 0o777).toBe(0o600);
  expect(await connectAs(user, socketPath)).toBe('EACCES');
  expect(await connectAs({ uid: 0, gid: 0 }, socketPath), 'the owner is let in').toBe('v2');
});

test('a member of the group is let in by a socket of mode 0660, nobody else is', async () => {
  await mkdir(path.join(directory, 'run'), { mode: 0o755 });
  const { socketPath } = await serve({ socketMode: '0660', socketGroup: user.gid });
  expect(await stat(socketPath)).toMatchObject({ gid: user.gid });
  expect((await stat(socketPath)).mode & 0o777).toBe(0o660);
  expect(await connectAs(user, socketPath)).toBe('v2');
  expect(await connectAs(otherGroup, socketPath)).toBe('EACCES');
});

test('a missing parent directory is made for the group and for nobody else', async () => {
  const { socketPath } = await serve({ socketMode: '0660', socketGroup: user.gid });
  const parent = await stat(path.dirname(socketPath));
  expect(parent.mode & 0o777).toBe(0o750);
  expect(parent.gid).toBe(user.gid);
  expect(await connectAs(user, socketPath)).toBe('v2');
  expect(await connectAs(otherGroup, socketPath)).toBe('EACCES');
});

async function serve(options: SealwaxOptions): Promise<Sealwax> {
  sealwax = await Sealwax.configure(directory, options);
  await sealwax.init();
  await sealwax.start();
  return sealwax;
}

/** `v2` when Status answered, else why the connection failed. */
async function connectAs(who: { readonly uid: number; readonly gid: number }, socketPath: string): Promise<string> {
  const args = [clientAsUser, socketPath, String(who.uid), String(who.gid)];
  return (await execFileAsync(process.execPath, args)).stdout.trim();
}
