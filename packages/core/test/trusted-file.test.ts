import { execFileSync } from 'node:child_process';
import { chmod, chown, mkdir, symlink, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { FileError, isMissingFile, readTrustedFile, systemErrorText } from '../src/trusted-file.js';
import { temporaryDirectory } from './temporary-directory.js';

const isRoot = process.geteuid?.() === 0;
const OTHER_UID = 65_534;

async function fileOf(content: string, mode = 0o600): Promise<string> {
  const file = path.join(await temporaryDirectory(), 'file');
  await writeFile(file, content);
  await chmod(file, mode);
  return file;
}

const read = async (file: string, forbiddenMode = 0o077) =>
  Buffer.from(await readTrustedFile(file, forbiddenMode)).toString();
async function refusalOf(file: string, forbiddenMode = 0o077): Promise<FileError> {
  const error: unknown = await readTrustedFile(file, forbiddenMode).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(FileError);
  expect((error as FileError).message).toMatch(new RegExp(`^${file}: `));
  return error as FileError;
}

test('reads a private file of our own', async () => {
  expect(await read(await fileOf('secret'))).toBe('secret');
});

test('reads through symbolic links', async () => {
  const file = await fileOf('secret');
  await symlink(file, `${file}.link`);
  expect(await read(`${file}.link`)).toBe('secret');
});

describe('refuses', () => {
  test('a missing file, recognisably', async () => {
    const missing = await refusalOf(path.join(await temporaryDirectory(), 'missing'));
    expect(isMissingFile(missing)).toBe(true);
    expect(isMissingFile(await refusalOf(await fileOf('')))).toBe(false);
  });

  test('a dangling link, as missing', async () => {
    const link = path.join(await temporaryDirectory(), 'link');
    await symlink('/nowhere/at/all', link);
    expect(isMissingFile(await refusalOf(link))).toBe(true);
  });

  test('an empty file', async () => {
    await refusalOf(await fileOf(''));
  });

  test('a file above 1 MiB, while one of 1 MiB is read', async () => {
    const file = await fileOf('x');
    await truncate(file, 1024 * 1024);
    expect(await read(file)).toHaveLength(1024 * 1024);
    await truncate(file, 1024 * 1024 + 1);
    await refusalOf(file);
  });

  test('a directory', async () => {
    await refusalOf(await temporaryDirectory());
  });

  test('a device', async () => {
    await refusalOf('/dev/null');
  });

  test('a named pipe, without waiting for a writer', async () => {
    const pipe = path.join(await temporaryDirectory(), 'pipe');
    execFileSync('mkfifo', ['-m', '0600', pipe]);
    await refusalOf(pipe);
  });

  test('a path below a file', async () => {
    await refusalOf(path.join(await fileOf('x'), 'below'));
  });

  test.each([0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666, 0o777])(
    'mode %o, and says which to set',
    async (mode) => {
      const file = await fileOf('secret', mode);
      const refusal = await refusalOf(file);
      const command = /chmod (0\d{3}) /.exec(refusal.message);
      expect(command).not.toBeNull();
      await chmod(file, parseInt(command![1]!, 8));
      expect(await read(file)).toBe('secret');
    },
  );

  test('only those bits that the caller forbids', async () => {
    const file = await fileOf('secret', 0o640);
    expect(await read(file, 0o027)).toBe('secret');
    await chmod(file, 0o660);
    await refusalOf(file, 0o027);
  });

  test.runIf(isRoot)('a file of another user', async () => {
    const file = await fileOf('secret');
    await chown(file, OTHER_UID, OTHER_UID);
    await refusalOf(file);
  });

  test.runIf(isRoot)('no owner where the caller takes anybody’s file, and still a mode', async () => {
    const file = await fileOf('secret');
    await chown(file, OTHER_UID, OTHER_UID);
    expect(Buffer.from(await readTrustedFile(file, 0o077, { owner: 'anybody' })).toString()).toBe('secret');
    await chmod(file, 0o604);
    await expect(readTrustedFile(file, 0o077, { owner: 'anybody' })).rejects.toBeInstanceOf(FileError);
  });

  test.runIf(isRoot)('a file of another user behind a link of our own', async () => {
    const file = await fileOf('secret');
    await symlink(file, `${file}.link`);
    await chown(file, OTHER_UID, OTHER_UID);
    await refusalOf(`${file}.link`);
  });
});

test.runIf(isRoot)('a file of root is read by others who may', async () => {
  const file = await fileOf('secret', 0o644);
  await chmod(path.dirname(file), 0o755);
  process.seteuid!(OTHER_UID);
  try {
    expect(await read(file, 0o022)).toBe('secret');
  } finally {
    process.seteuid!(0);
  }
});

test('the text of a system error is without its code and path', async () => {
  const directory = await temporaryDirectory();
  const error: unknown = await mkdir(directory).catch((reason: unknown) => reason);
  expect(systemErrorText(error)).toBe('file already exists');
  expect(systemErrorText(new Error('as it is'))).toBe('as it is');
  expect(systemErrorText('a text')).toBe('a text');
});
