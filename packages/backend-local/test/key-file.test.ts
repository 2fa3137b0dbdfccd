import { chown, mkdir, readdir, readFile, realpath, rm, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { inspect } from 'node:util';
import { FileError, isMissingFile } from '@sealwax/core';
import { describe, expect, test } from 'vitest';
import { createKeyFile, KeyFileError, readKeyFile, rotateKeyFile } from '../src/key-file.js';
import { brokenKeyFiles, showsKeyText, writeBroken } from './broken-key-files.js';
import { temporaryDirectory } from './temporary-directory.js';

const isRoot = process.geteuid?.() === 0;
const OTHER_UID = 65_534;

const newPath = async () => path.join(await temporaryDirectory(), 'kek.json');
const idsIn = async (file: string) => (await readKeyFile(file)).map(({ id }) => id);
const failureOf = async (promise: Promise<unknown>): Promise<Error> => {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof Error) return error;
  throw new Error('did not fail');
};

async function newKeyFile(): Promise<string> {
  const file = await newPath();
  await createKeyFile(file);
  return file;
}

describe('a new key file', () => {
  test('holds one version, with a random id and 32 random bytes', async () => {
    const [one, other] = [await newPath(), await newPath()];
    const ids = [await createKeyFile(one), await createKeyFile(other)];
    const versions = [await readKeyFile(one), await readKeyFile(other)];
    expect(versions.map((in_) => in_.map(({ id }) => id))).toEqual(ids.map((id) => [id]));
    expect(ids[0]).toMatch(/^[0-9a-f]{32}$/);
    expect(ids[0]).not.toBe(ids[1]);
    expect(versions[0]![0].key).toHaveLength(32);
    expect(versions[0]![0].key.equals(versions[1]![0].key)).toBe(false);
  });

  test('is for its owner only, whatever the umask', async () => {
    const umask = process.umask(0);
    try {
      expect((await stat(await newKeyFile())).mode & 0o777).toBe(0o600);
    } finally {
      process.umask(umask);
    }
  });

  test('never replaces a file, not even an empty or a broken one', async () => {
    const file = await newKeyFile();
    const before = await readFile(file);
    await expect(createKeyFile(file)).rejects.toMatchObject({ code: 'EEXIST' });
    expect((await readFile(file)).equals(before)).toBe(true);
    for (const broken of ['empty', 'truncated at its end']) {
      const kept = await writeBroken(brokenKeyFiles[broken]!);
      await expect(createKeyFile(kept)).rejects.toMatchObject({ code: 'EEXIST' });
      expect(await readFile(kept, 'utf8')).toBe(brokenKeyFiles[broken]!.content);
    }
    expect(await readdir(path.dirname(file))).toEqual(['kek.json']);
  });

  test('is made once when many want to', async () => {
    const file = await newPath();
    const made = await Promise.allSettled(Array.from({ length: 8 }, () => createKeyFile(file)));
    const ids = made.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    expect(ids).toHaveLength(1);
    expect(await idsIn(file)).toEqual(ids);
  });
});

describe('rotation', () => {
  test('appends a version and keeps the older ones as they were', async () => {
    const file = await newKeyFile();
    const [first] = await readKeyFile(file);
    const ids = [first.id, await rotateKeyFile(file), await rotateKeyFile(file)];
    expect(new Set(ids).size).toBe(3);
    const versions = await readKeyFile(file);
    expect(versions.map(({ id }) => id)).toEqual(ids);
    expect(versions[0]).toEqual(first);
    expect(new Set(versions.map(({ key }) => key.toString('hex'))).size).toBe(3);
  });

  test('leaves nothing behind, and mode 0600', async () => {
    const file = await newKeyFile();
    await rotateKeyFile(file);
    expect(await readdir(path.dirname(file))).toEqual(['kek.json']);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
  });

  test('loses no version when many rotate at a time: each either appends its own or fails', async () => {
    const file = await newKeyFile();
    const [first] = await idsIn(file);
    const ids: string[] = [];
    for (let round = 0; round < 5; round += 1) {
      const rotated = await Promise.allSettled(Array.from({ length: 8 }, () => rotateKeyFile(file)));
      for (const result of rotated) {
        if (result.status === 'fulfilled') ids.push(result.value);
        else expect(result.reason).toBeInstanceOf(KeyFileError);
      }
    }
    expect(ids.length).toBeGreaterThanOrEqual(5);
    expect(new Set(await idsIn(file))).toEqual(new Set([first, ...ids]));
  });

  test('of a file that is being rotated is refused, and names the lock that would have to go', async () => {
    const file = await newKeyFile();
    const before = await readFile(file);
    await writeFile(`${file}.lock`, '');
    const refusal = await failureOf(rotateKeyFile(file));
    expect(refusal).toBeInstanceOf(KeyFileError);
    expect(refusal.message).toContain(`${await realpath(file)}.lock`);
    expect((await readFile(file)).equals(before)).toBe(true);
    await rm(`${file}.lock`);
    await rotateKeyFile(file);
  });

  test.each(Object.keys(brokenKeyFiles))('refuses a file that is %s and leaves it as it was', async (broken) => {
    const file = await writeBroken(brokenKeyFiles[broken]!);
    await failureOf(rotateKeyFile(file));
    expect(await readFile(file, 'utf8')).toBe(brokenKeyFiles[broken]!.content);
    expect(await readdir(path.dirname(file))).toEqual(['kek.json']);
  });

  test('makes no file where there is none', async () => {
    const file = await newPath();
    expect(isMissingFile(await failureOf(rotateKeyFile(file)))).toBe(true);
    expect(await readdir(path.dirname(file))).toEqual([]);
  });

  test('through a symbolic link rotates the file that it leads to', async () => {
    const file = await newKeyFile();
    const link = path.join(await temporaryDirectory(), 'link.json');
    await symlink(file, link);
    const id = await rotateKeyFile(link);
    expect((await idsIn(file)).at(-1)).toBe(id);
    expect(await realpath(link)).toBe(await realpath(file));
  });

  test('excludes another that reaches the file by another name', async () => {
    const file = await newKeyFile();
    const link = path.join(await temporaryDirectory(), 'link.json');
    await symlink(file, link);
    await writeFile(`${file}.lock`, '');
    expect(await failureOf(rotateKeyFile(link))).toBeInstanceOf(KeyFileError);
  });

  test.runIf(isRoot)('by root of the file of a service’s user leaves it his', async () => {
    const file = await newKeyFile();
    await chown(file, OTHER_UID, OTHER_UID);
    const id = await rotateKeyFile(file);
    expect(await stat(file)).toMatchObject({ uid: OTHER_UID, gid: OTHER_UID });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await readKeyFile(file, { owner: 'anybody' })).at(-1)?.id).toBe(id);
  });

  test.runIf(isRoot)('by the user himself works, also when the file’s group is none of his', async () => {
    const file = await newKeyFile();
    await chown(file, OTHER_UID, 54_321);
    await chown(path.dirname(file), OTHER_UID, OTHER_UID);
    process.seteuid!(OTHER_UID);
    try {
      const id = await rotateKeyFile(file);
      expect((await idsIn(file)).at(-1)).toBe(id);
    } finally {
      process.seteuid!(0);
    }
    expect((await stat(file)).uid).toBe(OTHER_UID);
  });
});

describe('a key file that cannot be used is refused', () => {
  test.each(Object.entries(brokenKeyFiles))('%s', async (_name, broken) => {
    const file = await writeBroken(broken);
    const refusal = await failureOf(readKeyFile(file));
    expect(refusal instanceof KeyFileError || refusal instanceof FileError).toBe(true);
    expect(refusal.message.startsWith(`${file}: `)).toBe(true);
    expect(refusal.message).toMatch(broken.remedy);
  });

  test.each(Object.entries(brokenKeyFiles))('%s: nothing that is logged of it shows a key', async (_name, broken) => {
    const refusal = await failureOf(readKeyFile(await writeBroken(broken)));
    expect(showsKeyText(inspect(refusal, { depth: 20, showHidden: true }))).toBe(false);
  });

  test('missing, recognisably', async () => {
    expect(isMissingFile(await failureOf(readKeyFile(await newPath())))).toBe(true);
  });

  test('a directory', async () => {
    const directory = await newPath();
    await mkdir(directory);
    expect(await failureOf(readKeyFile(directory))).toBeInstanceOf(FileError);
  });

  test.runIf(isRoot)('of another user, unless a command says that anybody’s will do', async () => {
    const file = await newKeyFile();
    await chown(file, OTHER_UID, OTHER_UID);
    expect(await failureOf(readKeyFile(file))).toBeInstanceOf(FileError);
    expect(await readKeyFile(file, { owner: 'anybody' })).toHaveLength(1);
  });
});

test('the search for key text finds it where it is', () => {
  expect(showsKeyText(brokenKeyFiles['a bare key']!.content)).toBe(true);
});
