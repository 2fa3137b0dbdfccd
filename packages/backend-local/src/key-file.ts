import { randomBytes } from 'node:crypto';
import { open, realpath, rm, stat } from 'node:fs/promises';
import { readTrustedFile, writeFileAtomically } from '@sealwax/core';
import { z } from 'zod';

const FORMAT = 1;
const KEY_LENGTH = 32;
const MODE = 0o600;
const FORBIDDEN_MODE = 0o077;

const keyFileSchema = z.strictObject({
  format: z.literal(FORMAT),
  /** Oldest first; the last one wraps. */
  versions: z
    .array(
      z.strictObject({
        id: z.string().regex(/^[0-9a-f]{32}$/, 'must be 32 hexadecimal digits'),
        created: z.iso.datetime(),
        key: z.string().transform((text, context) => {
          const key = Buffer.from(text, 'base64');
          if (key.length === KEY_LENGTH && key.toString('base64') === text) return key;
          context.addIssue({ code: 'custom', message: `must be ${KEY_LENGTH} bytes in base64` });
          return z.NEVER;
        }),
      }),
    )
    .min(1),
});

/** One version of the KEK. */
export type KeyVersion = z.infer<typeof keyFileSchema>['versions'][number];

/** The key file is there and cannot be used. The message names the file and says what to do, and holds nothing of its content. */
export class KeyFileError extends Error {
  override readonly name = 'KeyFileError';
}

/**
 * The versions in a key file, oldest first; the last one wraps.
 *
 * @param owner - whose file is taken; a plugin that serves takes none but its own and root's
 * @throws {FileError} when it is missing or may not be trusted
 * @throws {KeyFileError} when its content is no key file
 */
export async function readKeyFile(
  path: string,
  { owner = 'root-or-self' }: { readonly owner?: 'root-or-self' | 'anybody' } = {},
): Promise<readonly [KeyVersion, ...KeyVersion[]]> {
  const content = await readTrustedFile(path, FORBIDDEN_MODE, { owner });
  const { versions } = parse(path, content);
  content.fill(0);
  const [first, ...rest] = versions;
  if (first === undefined) throw new KeyFileError(`${path}: no version`);
  const twice = versions.find(({ id }, index) => versions.findIndex((other) => other.id === id) !== index);
  if (twice !== undefined)
    throw new KeyFileError(`${path}: version ${twice.id} stands there twice; restore the file from a backup`);
  return [first, ...rest];
}

/**
 * Makes a key file with one version.
 *
 * @returns the id of that version
 * @throws {NodeJS.ErrnoException} `EEXIST` when the file is there: a key that wrapped data must not be lost
 */
export async function createKeyFile(path: string): Promise<string> {
  const version = newVersion();
  await writeFileAtomically(path, encode([version]), { mode: MODE, onlyNew: true });
  return version.id;
}

/**
 * Appends a new version, which wraps from then on. Root can do so with the file of a service's user, whose it stays.
 *
 * @returns the id of the new version
 * @throws {KeyFileError} when another rotation is under way: the version of the slower one would be lost, with all it has wrapped by then
 */
export async function rotateKeyFile(path: string): Promise<string> {
  // Through a symbolic link: a rename would put a second key file in the link's place, and the two would drift apart.
  const file = await realpath(path).catch(() => path);
  const lock = `${file}.lock`;
  try {
    await (await open(lock, 'wx', MODE)).close();
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    throw new KeyFileError(`${path}: another rotation is under way; if none is, remove ${lock}`, { cause: error });
  }
  try {
    const versions = await readKeyFile(file, { owner: 'anybody' });
    const { uid, gid } = await stat(file);
    const version = newVersion();
    // Only root can give a file away, and nobody else has to.
    const owner = process.geteuid?.() === 0 ? { owner: { uid, gid } } : {};
    await writeFileAtomically(file, encode([...versions, version]), { mode: MODE, onlyNew: false, ...owner });
    return version.id;
  } finally {
    await rm(lock, { force: true });
  }
}

function newVersion(): KeyVersion {
  return { id: randomBytes(16).toString('hex'), created: new Date().toISOString(), key: randomBytes(KEY_LENGTH) };
}

function encode(versions: readonly KeyVersion[]): Uint8Array {
  const file = {
    format: FORMAT,
    versions: versions.map(({ id, created, key }) => ({ id, created, key: key.toString('base64') })),
  };
  return Buffer.from(`${JSON.stringify(file, undefined, 2)}\n`);
}

function parse(path: string, content: Uint8Array): z.infer<typeof keyFileSchema> {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(content).toString('utf8'));
  } catch {
    // The parser's own message quotes the text: it is left out.
    throw new KeyFileError(`${path}: truncated or no key file (not JSON); restore it from a backup`);
  }
  const format: unknown = typeof json === 'object' && json !== null && 'format' in json ? json.format : undefined;
  if (typeof format === 'number' && format > FORMAT) {
    throw new KeyFileError(
      `${path}: format ${format} is newer than this version of Sealwax knows (${FORMAT}); upgrade Sealwax`,
    );
  }
  const parsed = keyFileSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  // The name of an unknown property is content, too.
  const fault = issue?.code === 'unrecognized_keys' ? 'unknown property' : issue?.message;
  const where = issue === undefined || issue.path.length === 0 ? '' : `${issue.path.join('.')}: `;
  throw new KeyFileError(`${path}: ${where}${fault ?? 'no key file'}; restore the file from a backup`);
}
