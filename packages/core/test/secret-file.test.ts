import { chmod, mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { secretFile } from '../src/secret-file.js';
import { temporaryDirectory } from './temporary-directory.js';
import { until } from './until.js';

const text = async (file: ReturnType<typeof secretFile>) => Buffer.from(await file.read()).toString();

async function fileOf(content: string, { mode = 0o600, atEnd = onTestFinished } = {}): Promise<string> {
  const file = path.join(await temporaryDirectory(atEnd), 'token');
  await writeFile(file, content);
  await chmod(file, mode);
  return file;
}

/** A directory as the kubelet mounts a Secret: `token` → `..data/token`, `..data` → a directory that each update replaces. */
async function mountedSecret(content: string, atEnd = onTestFinished) {
  const directory = await temporaryDirectory(atEnd);
  let generation = 0;
  const update = async (next: string) => {
    const folder = `..${(generation += 1)}`;
    await mkdir(path.join(directory, folder));
    await writeFile(path.join(directory, folder, 'token'), next, { mode: 0o600 });
    await symlink(folder, path.join(directory, '..data_tmp'));
    await rename(path.join(directory, '..data_tmp'), path.join(directory, '..data'));
    for (const entry of await readdir(directory)) {
      if (/^\.\.\d+$/.test(entry) && entry !== folder) await rm(path.join(directory, entry), { recursive: true });
    }
  };
  await update(content);
  await symlink('..data/token', path.join(directory, 'token'));
  return { file: path.join(directory, 'token'), update };
}

/** Counts the changes of `file` that are told, until the test is over or `stop` is called. */
function watch(file: string, atEnd: typeof onTestFinished) {
  const watching = new AbortController();
  const watched = {
    told: 0,
    stop: () => {
      watching.abort();
    },
  };
  const onChange = () => {
    watched.told += 1;
  };
  secretFile(file, 'vault').onChange(onChange, watching.signal);
  atEnd(watched.stop);
  return watched;
}

/** Makes `change` again and again until `told`: the first may come before the watch has looked for the first time. */
async function changeUntil(told: () => boolean, change: (round: number) => Promise<void>): Promise<void> {
  for (let round = 1; round <= 20 && !told(); round += 1) {
    await change(round);
    await until(told, { withinMs: 500 }).catch(() => undefined);
  }
  expect(told()).toBe(true);
}

describe('reading', () => {
  test.each([0o600, 0o400, 0o640, 0o440])('takes mode %o', async (mode) => {
    expect(await text(secretFile(await fileOf('s3cret', { mode }), 'vault'))).toBe('s3cret');
  });

  test.each([0o644, 0o604, 0o620, 0o660, 0o666])('refuses mode %o as unauthenticated', async (mode) => {
    await expect(secretFile(await fileOf('s3cret', { mode }), 'vault').read()).rejects.toMatchObject({
      name: 'BackendError',
      code: 'unauthenticated',
      message: expect.stringMatching(/^vault: /),
    });
  });

  test('refuses a missing and an empty file as unauthenticated', async () => {
    for (const file of [path.join(await temporaryDirectory(), 'missing'), await fileOf('')]) {
      await expect(secretFile(file, 'vault').read()).rejects.toMatchObject({ code: 'unauthenticated' });
    }
  });

  test('gives the file as it is now, each time', async () => {
    const path = await fileOf('one');
    const file = secretFile(path, 'vault');
    expect(await text(file)).toBe('one');
    await writeFile(path, 'two');
    expect(await text(file)).toBe('two');
  });

  test('keeps nothing: what it gave can be overwritten', async () => {
    const file = secretFile(await fileOf('s3cret'), 'vault');
    (await file.read()).fill(0);
    expect(await text(file)).toBe('s3cret');
  });

  test('sees the swap of a mounted Secret', async () => {
    const { file, update } = await mountedSecret('one');
    expect(await text(secretFile(file, 'vault'))).toBe('one');
    await update('two');
    expect(await text(secretFile(file, 'vault'))).toBe('two');
  });
});

// The file is looked at every two seconds: these wait for that, together. (Vitest lets five run at a time.)
describe.concurrent('a change is told within seconds:', () => {
  test('other content', { timeout: 15_000 }, async ({ onTestFinished: atEnd }) => {
    const [file, untouched] = [await fileOf('secret', { atEnd }), await fileOf('secret', { atEnd })];
    const [watched, other] = [watch(file, atEnd), watch(untouched, atEnd)];
    await changeUntil(
      () => watched.told > 0,
      (round) => writeFile(file, `secret of round ${round}`),
    );
    expect(other.told).toBe(0);
  });

  test('another file in its place', { timeout: 15_000 }, async ({ onTestFinished: atEnd }) => {
    const file = await fileOf('secret', { atEnd });
    const watched = watch(file, atEnd);
    await changeUntil(
      () => watched.told > 0,
      async () => {
        await writeFile(`${file}.new`, 'secret', { mode: 0o600 });
        await rename(`${file}.new`, file);
      },
    );
  });

  test(
    'the swap of a mounted Secret, though the path is the same link as before',
    { timeout: 15_000 },
    async ({ onTestFinished: atEnd }) => {
      const { file, update } = await mountedSecret('secret', atEnd);
      const watched = watch(file, atEnd);
      await changeUntil(
        () => watched.told > 0,
        () => update('secret'),
      );
    },
  );

  test('a mode that is mended', { timeout: 15_000 }, async ({ onTestFinished: atEnd }) => {
    const file = await fileOf('secret', { atEnd });
    const watched = watch(file, atEnd);
    await changeUntil(
      () => watched.told > 0,
      (round) => chmod(file, round % 2 === 0 ? 0o600 : 0o400),
    );
  });

  test('a file that was missing is there', { timeout: 15_000 }, async ({ onTestFinished: atEnd }) => {
    const file = path.join(await temporaryDirectory(atEnd), 'token');
    const watched = watch(file, atEnd);
    await changeUntil(
      () => watched.told > 0,
      (round) => writeFile(file, `secret of round ${round}`, { mode: 0o600 }),
    );
  });

  test(
    'to all who watch the same file, until each of them stops',
    { timeout: 15_000 },
    async ({ onTestFinished: atEnd }) => {
      const file = await fileOf('secret', { atEnd });
      const [leaving, staying, gone] = [watch(file, atEnd), watch(file, atEnd), watch(file, atEnd)];
      leaving.stop();
      gone.stop();
      let toldTooLate = 0;
      const onChange = () => {
        toldTooLate += 1;
      };
      secretFile(file, 'vault').onChange(onChange, AbortSignal.abort());
      await changeUntil(
        () => staying.told > 0,
        (round) => writeFile(file, `secret of round ${round}`),
      );
      expect([leaving.told, gone.told, toldTooLate]).toEqual([0, 0, 0]);
    },
  );
});
