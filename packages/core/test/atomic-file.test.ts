import { mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { writeFileAtomically } from '../src/atomic-file.js';
import { temporaryDirectory } from './temporary-directory.js';

const isRoot = process.geteuid?.() === 0;
const OTHER_UID = 65_534;
const replace = { mode: 0o600, onlyNew: false };
const modeOf = async (file: string) => (await stat(file)).mode & 0o777;

async function place() {
  const directory = await temporaryDirectory();
  return { directory, file: path.join(directory, 'file') };
}

test('makes a file, and replaces it', async () => {
  const { directory, file } = await place();
  await writeFileAtomically(file, Buffer.from('one'), replace);
  expect(await readFile(file, 'utf8')).toBe('one');
  await writeFileAtomically(file, Buffer.from('two'), replace);
  expect(await readFile(file, 'utf8')).toBe('two');
  expect(await readdir(directory)).toEqual(['file']);
});

test.each([0o600, 0o640, 0o666])('gives it mode %o whatever the umask', async (mode) => {
  const { file } = await place();
  const umask = process.umask(0o077);
  try {
    await writeFileAtomically(file, Buffer.from('x'), { mode, onlyNew: false });
  } finally {
    process.umask(umask);
  }
  expect(await modeOf(file)).toBe(mode);
});

test('replaces a file of a wider mode by one of the mode asked for', async () => {
  const { file } = await place();
  await writeFile(file, 'old', { mode: 0o666 });
  await writeFileAtomically(file, Buffer.from('new'), replace);
  expect(await modeOf(file)).toBe(0o600);
});

test('replaces no file where only a new one is wanted, and leaves nothing behind', async () => {
  const { directory, file } = await place();
  await writeFile(file, 'old');
  const written = writeFileAtomically(file, Buffer.from('new'), { mode: 0o600, onlyNew: true });
  await expect(written).rejects.toMatchObject({ code: 'EEXIST' });
  expect(await readFile(file, 'utf8')).toBe('old');
  expect(await readdir(directory)).toEqual(['file']);
});

test('takes a dangling symbolic link for a file that is there', async () => {
  const { directory, file } = await place();
  await symlink(path.join(directory, 'nowhere'), file);
  const written = writeFileAtomically(file, Buffer.from('new'), { mode: 0o600, onlyNew: true });
  await expect(written).rejects.toMatchObject({ code: 'EEXIST' });
});

test('of many who want a new one, one gets it', async () => {
  const { directory, file } = await place();
  const written = await Promise.allSettled(
    Array.from({ length: 10 }, (_, index) =>
      writeFileAtomically(file, Buffer.from(`${index}`), { mode: 0o600, onlyNew: true }),
    ),
  );
  const winners = written.flatMap(({ status }, index) => (status === 'fulfilled' ? [index] : []));
  expect(winners).toHaveLength(1);
  expect(await readFile(file, 'utf8')).toBe(String(winners[0]));
  expect(await readdir(directory)).toEqual(['file']);
});

test('a reader sees the old content whole or the new one whole', async () => {
  const { file } = await place();
  const content = (fill: number) => Buffer.alloc(200_000, fill);
  await writeFileAtomically(file, content(0), replace);
  const written = new AbortController();
  const reading = (async () => {
    let reads = 0;
    for (; !written.signal.aborted; reads += 1) {
      const read = await readFile(file);
      expect(read.length).toBe(200_000);
      expect(read.every((byte) => byte === read[0])).toBe(true);
    }
    return reads;
  })();
  for (let round = 1; round <= 20; round += 1) await writeFileAtomically(file, content(round), replace);
  written.abort();
  expect(await reading).toBeGreaterThan(0);
});

test('fails and leaves nothing behind where it cannot be put in place', async () => {
  const { directory, file } = await place();
  await mkdir(file);
  await expect(writeFileAtomically(file, Buffer.from('x'), replace)).rejects.toMatchObject({ code: 'EISDIR' });
  expect(await readdir(directory)).toEqual(['file']);
  const nowhere = path.join(directory, 'missing', 'file');
  await expect(writeFileAtomically(nowhere, Buffer.from('x'), replace)).rejects.toMatchObject({ code: 'ENOENT' });
});

test.runIf(isRoot)('gives it the owner asked for', async () => {
  const { file } = await place();
  await writeFileAtomically(file, Buffer.from('x'), { ...replace, owner: { uid: OTHER_UID, gid: OTHER_UID } });
  expect(await stat(file)).toMatchObject({ uid: OTHER_UID, gid: OTHER_UID });
  expect(await modeOf(file)).toBe(0o600);
});
