import { randomBytes } from 'node:crypto';
import { chmod, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { temporaryDirectory } from './temporary-directory.js';

/** Text of a key, as it stands in a key file. */
export const KEY_TEXT = randomBytes(32).toString('base64');
const OTHER_KEY_TEXT = randomBytes(32).toString('base64');

const version = { id: '0123456789abcdef0123456789abcdef', created: '2026-01-02T03:04:05.678Z', key: KEY_TEXT };
const other = { id: 'fedcba9876543210fedcba9876543210', created: '2026-01-03T03:04:05.678Z', key: OTHER_KEY_TEXT };
const good = { format: 1, versions: [version, other] };
const goodText = JSON.stringify(good, undefined, 2);

interface BrokenKeyFile {
  readonly content: string;
  readonly mode?: number;
  /** What the message tells the operator to do. */
  readonly remedy: RegExp;
}

const restore = /restore (it|the file) from a backup/;
const changed = (change: object): BrokenKeyFile => ({
  content: JSON.stringify({ ...good, ...change }),
  remedy: restore,
});
const changedVersion = (change: object): BrokenKeyFile => changed({ versions: [version, { ...other, ...change }] });

/** Key files that are there and must not be used. */
export const brokenKeyFiles: Record<string, BrokenKeyFile> = {
  empty: { content: '', remedy: /empty/ },
  'truncated at its end': { content: goodText.slice(0, -3), remedy: restore },
  'truncated within a key': { content: goodText.slice(0, goodText.indexOf(OTHER_KEY_TEXT) + 20), remedy: restore },
  'truncated to its first byte': { content: '{', remedy: restore },
  'zeros, as after a power cut': { content: '\0'.repeat(400), remedy: restore },
  'two key files in one': { content: goodText + goodText, remedy: restore },
  'a bare key': { content: KEY_TEXT, remedy: restore },
  'JSON of something else': { content: JSON.stringify({ keys: [KEY_TEXT] }), remedy: restore },
  'a JSON text': { content: JSON.stringify(KEY_TEXT), remedy: restore },
  null: { content: 'null', remedy: restore },
  'readable by its group': { content: goodText, mode: 0o640, remedy: /chmod 0600 / },
  'readable by the world': { content: goodText, mode: 0o604, remedy: /chmod 0600 / },
  'writable by its group': { content: goodText, mode: 0o620, remedy: /chmod 0600 / },
  'open to all': { content: goodText, mode: 0o777, remedy: /chmod 0700 / },
  'of a newer format': { content: JSON.stringify({ format: 2, keks: [KEY_TEXT] }), remedy: /upgrade Sealwax/ },
  'of format 0': changed({ format: 0 }),
  'of a format in quotes': changed({ format: '1' }),
  'without a format': changed({ format: undefined }),
  'without versions': changed({ versions: undefined }),
  'with no version left': changed({ versions: [] }),
  'with versions that are no list': changed({ versions: { [version.id]: KEY_TEXT } }),
  'with an unknown property': changed({ [KEY_TEXT]: true }),
  'with an unknown property of a version': changedVersion({ [KEY_TEXT]: true }),
  'with a version twice': changed({ versions: [version, other, { ...version, key: OTHER_KEY_TEXT }] }),
  'with a version without a key': changed({ versions: [{ id: version.id, created: version.created }] }),
  'with an id in capitals': changedVersion({ id: other.id.toUpperCase() }),
  'with an id too short': changedVersion({ id: other.id.slice(1) }),
  'with an id that is a key': changedVersion({ id: KEY_TEXT }),
  'with a date that is none': changedVersion({ created: 'yesterday' }),
  'with an empty key': changedVersion({ key: '' }),
  'with a key of 31 bytes': changedVersion({ key: randomBytes(31).toString('base64') }),
  'with a key of 33 bytes': changedVersion({ key: randomBytes(33).toString('base64') }),
  'with a key in hexadecimal': changedVersion({ key: Buffer.from(OTHER_KEY_TEXT, 'base64').toString('hex') }),
  'with a key in base64url': changedVersion({ key: Buffer.alloc(32, 0xfb).toString('base64url') }),
  'with a key without its padding': changedVersion({ key: OTHER_KEY_TEXT.slice(0, -1) }),
  'with a blank in a key': changedVersion({ key: ` ${OTHER_KEY_TEXT}` }),
  'with a key that ends in stray bits': changedVersion({ key: `${'A'.repeat(42)}B=` }),
  'with a key that is a number': changedVersion({ key: 42 }),
};

/** Puts such a file in a new directory. */
export async function writeBroken({ content, mode = 0o600 }: BrokenKeyFile): Promise<string> {
  const file = path.join(await temporaryDirectory(), 'kek.json');
  await writeFile(file, content);
  await chmod(file, mode);
  return file;
}

/** Whether `text` shows any part of a key in those files, 8 characters or more. */
export function showsKeyText(text: string): boolean {
  return [KEY_TEXT, OTHER_KEY_TEXT].some((key) =>
    Array.from({ length: key.length - 8 }, (_, start) => key.slice(start, start + 8)).some((part) =>
      text.includes(part),
    ),
  );
}
