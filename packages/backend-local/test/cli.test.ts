import { spawn } from 'node:child_process';
import { chown, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { readKeyFile } from '../src/key-file.js';
import { brokenKeyFiles, KEY_TEXT, showsKeyText, writeBroken } from './broken-key-files.js';
import { temporaryDirectory } from './temporary-directory.js';

// As built: `npm run build` comes before.
const CLI = fileURLToPath(new URL('../dist/cli.js', import.meta.url));
const isRoot = process.geteuid?.() === 0;
const OTHER_UID = 65_534;

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function run(...args: readonly string[]): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [CLI, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    const [out, err]: [string[], string[]] = [[], []];
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk.toString()));
    child.on('error', reject);
    child.on('close', (code) => {
      resolve({ code, out: out.join(''), err: err.join('') });
    });
  });
}

const newPath = async () => path.join(await temporaryDirectory(), 'kek.json');
const idsIn = async (file: string) => (await readKeyFile(file, { owner: 'anybody' })).map(({ id }) => id);

async function initialised(): Promise<string> {
  const file = await newPath();
  expect((await run('init', file)).code).toBe(0);
  return file;
}

describe('init', () => {
  test('makes a key file and says its version, not its key', async () => {
    const file = await newPath();
    const { code, out, err } = await run('init', file);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const [{ id, key }] = await readKeyFile(file);
    expect(out).toContain(id);
    expect(out).toContain(file);
    expect(out).not.toContain(key.toString('base64'));
    expect((await stat(file)).mode & 0o777).toBe(0o600);
  });

  test('never replaces a file', async () => {
    const file = await initialised();
    const before = await readFile(file);
    const { code, out, err } = await run('init', file);
    expect({ code, out }).toEqual({ code: 1, out: '' });
    expect(err).toContain(file);
    expect((await readFile(file)).equals(before)).toBe(true);
  });

  test('takes a relative path', async () => {
    const file = await newPath();
    const { code } = await run('init', path.relative(process.cwd(), file));
    expect(code).toBe(0);
    expect(await idsIn(file)).toHaveLength(1);
  });

  test('fails where there is no directory', async () => {
    const { code, err } = await run('init', path.join(await newPath(), 'kek.json'));
    expect(code).toBe(1);
    expect(err).not.toBe('');
  });
});

describe('rotate', () => {
  test('appends a version and says which', async () => {
    const file = await initialised();
    const [first] = await idsIn(file);
    const { code, out, err } = await run('rotate', file);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const ids = await idsIn(file);
    expect(ids).toHaveLength(2);
    expect(ids[0]).toBe(first);
    expect(out).toContain(ids[1]);
  });

  test('run many times at once loses no version that was reported', async () => {
    const file = await initialised();
    const ended = await Promise.all(Array.from({ length: 4 }, () => run('rotate', file)));
    const ids = await idsIn(file);
    const good = ended.filter(({ code }) => code === 0);
    expect(good.length).toBeGreaterThan(0);
    expect(ids).toHaveLength(1 + good.length);
    for (const { out } of good) expect(ids.some((id) => out.includes(id))).toBe(true);
    for (const { code, out, err } of ended.filter((one) => one.code !== 0)) {
      expect({ code, out }).toEqual({ code: 1, out: '' });
      expect(err).toContain('.lock');
    }
    expect(await readdir(path.dirname(file))).toEqual(['kek.json']);
  });

  test('makes no file where there is none', async () => {
    const file = await newPath();
    const { code, err } = await run('rotate', file);
    expect(code).toBe(1);
    expect(err).toContain(file);
    expect(await readdir(path.dirname(file))).toEqual([]);
  });

  test.runIf(isRoot)('by root leaves the file to the user whose it is', async () => {
    const file = await initialised();
    await chown(file, OTHER_UID, OTHER_UID);
    expect((await run('rotate', file)).code).toBe(0);
    expect(await idsIn(file)).toHaveLength(2);
    expect(await stat(file)).toMatchObject({ uid: OTHER_UID, gid: OTHER_UID });
  });
});

describe('list', () => {
  test('shows the versions, the current one last, and never a key', async () => {
    const file = await initialised();
    await run('rotate', file);
    const { code, out, err } = await run('list', file);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const versions = await readKeyFile(file);
    const lines = out.trimEnd().split('\n');
    expect(lines).toHaveLength(2);
    for (const [index, { id, created, key }] of versions.entries()) {
      expect(lines[index]).toContain(id);
      expect(lines[index]).toContain(created);
      expect(lines[index]?.includes('current')).toBe(index === 1);
      expect(out).not.toContain(key.toString('base64'));
      expect(out).not.toContain(key.toString('hex'));
    }
  });

  test.runIf(isRoot)('by root shows also the file of another user', async () => {
    const file = await initialised();
    await chown(file, OTHER_UID, OTHER_UID);
    expect((await run('list', file)).code).toBe(0);
  });

  test.each(['empty', 'truncated within a key', 'readable by the world', 'of a newer format'])(
    'of a file that is %s fails, says what to do and shows no key',
    async (name) => {
      const broken = brokenKeyFiles[name]!;
      const { code, out, err } = await run('list', await writeBroken(broken));
      expect({ code, out }).toEqual({ code: 1, out: '' });
      expect(err).toMatch(broken.remedy);
      expect(showsKeyText(err)).toBe(false);
    },
  );
});

describe('the command line', () => {
  test('explains itself', async () => {
    const { code, out } = await run('--help');
    expect(code).toBe(0);
    for (const command of ['init', 'rotate', 'list']) expect(out).toContain(command);
  });

  test.each([
    [['init']],
    [['rotate']],
    [['list']],
    [['remove', '/x']],
    [['list', '/x', '/y']],
    [['list', '--all', '/x']],
  ])('refuses %j and does nothing', async (args) => {
    const { code, err } = await run(...args);
    expect(code).not.toBe(0);
    expect(err).not.toBe('');
  });

  test('takes no key as an argument for a file', async () => {
    const directory = await temporaryDirectory();
    await writeFile(path.join(directory, 'kek.json'), KEY_TEXT, { mode: 0o600 });
    const { code, err } = await run('rotate', path.join(directory, 'kek.json'));
    expect(code).toBe(1);
    expect(showsKeyText(err)).toBe(false);
  });
});
