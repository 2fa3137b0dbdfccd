import { chmod, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { inspect } from 'node:util';
import type { Backend } from '@sealwax/core';
import { failureOf, lendHost } from '@sealwax/core/conformance';
import { describe, expect, test } from 'vitest';
import { backend } from '../src/index.js';
import { createKeyFile, readKeyFile, rotateKeyFile } from '../src/key-file.js';
import { brokenKeyFiles, showsKeyText, writeBroken } from './broken-key-files.js';
import { temporaryDirectory } from './temporary-directory.js';

const { signal } = new AbortController();
const LOCAL_KEY = new Uint8Array(32).fill(7);

const host = lendHost('local', () => undefined, signal);

const newPath = async () => path.join(await temporaryDirectory(), 'kek.json');
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

async function openNew() {
  const file = await newPath();
  const id = await createKeyFile(file);
  return { file, id, local: await backend.open({ path: file }, host) };
}

describe('the KEK id', () => {
  test('is that of the newest version', async () => {
    const { file, id, local } = await openNew();
    expect(await local.currentKekId(signal)).toBe(`local/${id}`);
    const next = await rotateKeyFile(file);
    expect(await local.currentKekId(signal)).toBe(`local/${next}`);
  });

  test('is the one that wrap used', async () => {
    const { local } = await openNew();
    expect((await local.wrap(LOCAL_KEY, signal)).kekId).toBe(await local.currentKekId(signal));
  });
});

describe('wrap and unwrap', () => {
  test('give back what was wrapped', async () => {
    const { local } = await openNew();
    const wrapped = await local.wrap(LOCAL_KEY, signal);
    expect(wrapped.ciphertext).toHaveLength(12 + 32 + 16);
    expect(hex(wrapped.ciphertext)).not.toContain(hex(LOCAL_KEY));
    expect(hex(await local.unwrap(wrapped, signal))).toBe(hex(LOCAL_KEY));
  });

  test('wrap the same to other bytes each time', async () => {
    const { local } = await openNew();
    const wrapped = await Promise.all(Array.from({ length: 20 }, () => local.wrap(LOCAL_KEY, signal)));
    expect(new Set(wrapped.map(({ ciphertext }) => hex(ciphertext))).size).toBe(20);
  });

  test('unwrap in another process, from the same file', async () => {
    const { file, local } = await openNew();
    const wrapped = await local.wrap(LOCAL_KEY, signal);
    const later = await backend.open({ path: file }, host);
    expect(hex(await later.unwrap(wrapped, signal))).toBe(hex(LOCAL_KEY));
  });

  test('neither keep nor change their input', async () => {
    const { local } = await openNew();
    const plaintext = Uint8Array.from(LOCAL_KEY);
    const wrapped = await local.wrap(plaintext, signal);
    expect(hex(plaintext)).toBe(hex(LOCAL_KEY));
    plaintext.fill(0);
    const before = hex(wrapped.ciphertext);
    const unwrapped = await local.unwrap(wrapped, signal);
    expect(hex(wrapped.ciphertext)).toBe(before);
    unwrapped.fill(0);
    expect(hex(await local.unwrap(wrapped, signal))).toBe(hex(LOCAL_KEY));
  });

  test('take views into larger buffers for what they show', async () => {
    const { local } = await openNew();
    const larger = new Uint8Array(64).fill(0xaa);
    larger.set(LOCAL_KEY, 16);
    const { kekId, ciphertext } = await local.wrap(larger.subarray(16, 48), signal);
    const padded = new Uint8Array(100).fill(0xbb);
    padded.set(ciphertext, 20);
    expect(hex(await local.unwrap({ kekId, ciphertext: padded.subarray(20, 80) }, signal))).toBe(hex(LOCAL_KEY));
  });

  test('work side by side, with a rotation in between', async () => {
    const { file, local } = await openNew();
    const round = async () => local.unwrap(await local.wrap(LOCAL_KEY, signal), signal);
    const [, ...unwrapped] = await Promise.all([rotateKeyFile(file), ...Array.from({ length: 20 }, round)]);
    expect(new Set(unwrapped.map(hex))).toEqual(new Set([hex(LOCAL_KEY)]));
  });
});

describe('a rotation', () => {
  test('is seen without a restart, and what was wrapped before unwraps', async () => {
    const { file, local } = await openNew();
    const old = await local.wrap(LOCAL_KEY, signal);
    await rotateKeyFile(file);
    const wrapped = await local.wrap(LOCAL_KEY, signal);
    expect(wrapped.kekId).not.toBe(old.kekId);
    for (const one of [old, wrapped]) expect(hex(await local.unwrap(one, signal))).toBe(hex(LOCAL_KEY));
  });

  test('of another node is seen as soon as its file is here', async () => {
    const { file, local } = await openNew();
    const copy = path.join(await temporaryDirectory(), 'copy.json');
    await writeFile(copy, await readFile(file), { mode: 0o600 });
    await rotateKeyFile(copy);
    const ahead = await (await backend.open({ path: copy }, host)).wrap(LOCAL_KEY, signal);
    expect((await failureOf(local.unwrap(ahead, signal))).code).toBe('key-not-found');
    await rename(copy, file);
    expect(hex(await local.unwrap(ahead, signal))).toBe(hex(LOCAL_KEY));
  });
});

describe('unwrap refuses', () => {
  test('every flipped bit, as invalid-ciphertext', async () => {
    const { local } = await openNew();
    const { kekId, ciphertext } = await local.wrap(LOCAL_KEY, signal);
    const codes = new Set<string>();
    for (let bit = 0; bit < ciphertext.length * 8; bit += 7) {
      const flipped = Uint8Array.from(ciphertext);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      codes.add((await failureOf(local.unwrap({ kekId, ciphertext: flipped }, signal))).code);
    }
    expect(codes).toEqual(new Set(['invalid-ciphertext']));
  });

  test('every cut, as invalid-ciphertext', async () => {
    const { local } = await openNew();
    const { kekId, ciphertext } = await local.wrap(LOCAL_KEY, signal);
    const codes = new Set<string>();
    for (let length = 0; length < ciphertext.length; length += 1) {
      const cut = { kekId, ciphertext: ciphertext.subarray(0, length) };
      codes.add((await failureOf(local.unwrap(cut, signal))).code);
    }
    expect(codes).toEqual(new Set(['invalid-ciphertext']));
  });

  test('a version that the file does not have, as key-not-found', async () => {
    const { local } = await openNew();
    const { ciphertext } = await local.wrap(LOCAL_KEY, signal);
    const gone = { kekId: `local/${'0'.repeat(32)}`, ciphertext };
    expect((await failureOf(local.unwrap(gone, signal))).code).toBe('key-not-found');
  });

  test.each(['', 'local', 'vault/v1', 'arn:aws:kms:eu-central-1:1:key/1', 'LOCAL/x'])(
    'a KEK id that is not of this backend, as invalid-ciphertext: %j',
    async (kekId) => {
      const { local } = await openNew();
      const { ciphertext } = await local.wrap(LOCAL_KEY, signal);
      expect((await failureOf(local.unwrap({ kekId, ciphertext }, signal))).code).toBe('invalid-ciphertext');
    },
  );

  test('what another version wrapped, under this version’s name, as invalid-ciphertext', async () => {
    const { file, local } = await openNew();
    const old = await local.wrap(LOCAL_KEY, signal);
    await rotateKeyFile(file);
    const { kekId } = await local.wrap(LOCAL_KEY, signal);
    const moved = { kekId, ciphertext: old.ciphertext };
    expect((await failureOf(local.unwrap(moved, signal))).code).toBe('invalid-ciphertext');
  });

  test('what the same key wrapped under another version’s name, as invalid-ciphertext', async () => {
    const { file, local } = await openNew();
    const { ciphertext } = await local.wrap(LOCAL_KEY, signal);
    const renamed = (await readFile(file, 'utf8')).replace(/"id": "[0-9a-f]{32}"/, `"id": "${'1'.repeat(32)}"`);
    await writeFile(file, renamed);
    const moved = { kekId: `local/${'1'.repeat(32)}`, ciphertext };
    expect((await failureOf(local.unwrap(moved, signal))).code).toBe('invalid-ciphertext');
  });

  test('what another key file wrapped, as key-not-found: its versions have other ids', async () => {
    const [one, other] = [await openNew(), await openNew()];
    const wrapped = await one.local.wrap(LOCAL_KEY, signal);
    expect((await failureOf(other.local.unwrap(wrapped, signal))).code).toBe('key-not-found');
  });
});

/** Each call that reads the key file. */
const calls: Record<string, (local: Backend) => Promise<unknown>> = {
  currentKekId: (local) => local.currentKekId(signal),
  wrap: (local) => local.wrap(LOCAL_KEY, signal),
  unwrap: (local) => local.unwrap({ kekId: `local/${'0'.repeat(32)}`, ciphertext: new Uint8Array(60) }, signal),
};

describe('without its key file', () => {
  test('open fails with key-not-found, says how to get one, and makes none', async () => {
    const file = await newPath();
    const failure = await failureOf(backend.open({ path: file }, host));
    expect(failure.code).toBe('key-not-found');
    expect(failure.message).toContain(file);
    expect(failure.message).toContain('`sealwax local init`');
    await expect(readFile(file)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test.each(Object.entries(calls))(
    '%s fails with key-not-found when the file goes, and works when it is back',
    async (_name, call) => {
      const { file, local } = await openNew();
      const content = await readFile(file);
      await rm(file);
      const failure = await failureOf(call(local));
      expect(failure.code).toBe('key-not-found');
      expect(failure.message).toContain('restore it from a backup');
      await writeFile(file, content, { mode: 0o600 });
      expect(await local.currentKekId(signal)).toMatch(/^local\//);
    },
  );
});

describe('with a key file that cannot be used', () => {
  test.each(Object.entries(brokenKeyFiles))(
    '%s: every call is unavailable, says what to do, and shows no key',
    async (_name, broken) => {
      const { file, local } = await openNew();
      await rename(await writeBroken(broken), file);
      const failures = [
        await failureOf(backend.open({ path: file }, host)),
        ...(await Promise.all(Object.values(calls).map((call) => failureOf(call(local))))),
      ];
      for (const failure of failures) {
        expect(failure.code).toBe('unavailable');
        expect(failure.message).toMatch(/^local: /);
        expect(failure.message).toContain(file);
        expect(failure.message).toMatch(broken.remedy);
        expect(showsKeyText(inspect(failure, { depth: 20, showHidden: true }))).toBe(false);
      }
    },
  );

  test('works again as soon as it is mended', async () => {
    const { file, local } = await openNew();
    await chmod(file, 0o644);
    expect((await failureOf(local.wrap(LOCAL_KEY, signal))).code).toBe('unavailable');
    await chmod(file, 0o600);
    const wrapped = await local.wrap(LOCAL_KEY, signal);
    expect(hex(await local.unwrap(wrapped, signal))).toBe(hex(LOCAL_KEY));
  });
});

test('no failure shows the key, nor what it wraps', async () => {
  const { file, local } = await openNew();
  const [{ key }] = await readKeyFile(file);
  const { kekId, ciphertext } = await local.wrap(LOCAL_KEY, signal);
  const failure = await failureOf(local.unwrap({ kekId, ciphertext: ciphertext.map((byte) => byte ^ 1) }, signal));
  const printed = inspect(failure, { depth: 20, showHidden: true });
  for (const secret of [key, Buffer.from(LOCAL_KEY)]) {
    expect(printed).not.toContain(secret.toString('hex'));
    expect(printed).not.toContain(secret.toString('base64'));
  }
});

test('closing is all there is to the end of it', async () => {
  const { local } = await openNew();
  await expect(local.close()).resolves.toBeUndefined();
});
