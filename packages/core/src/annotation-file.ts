import { mkdir, rename } from 'node:fs/promises';
import path from 'node:path';
import { writeFileAtomically } from './atomic-file.js';
import { decodeAnnotation, type AnnotatedKey } from './envelope.js';
import { isMissingFile, readTrustedFile } from './trusted-file.js';

const FORMAT = 1;
const MODE = 0o600;
const DIRECTORY_MODE = 0o700;
const FORBIDDEN_MODE = 0o022;
const MAX_BYTES = 256 * 1024 * 1024;

/** What a file of the state directory holds: annotations, which are public, and a few numbers. */
export interface AnnotationFile {
  readonly annotations: readonly AnnotatedKey[];
  readonly numbers: Readonly<Record<string, number>>;
}

/** A file of the state directory that cannot be used; the message says where it was moved. */
export class AnnotationFileError extends Error {
  override readonly name = 'AnnotationFileError';
}

/**
 * Reads such a file: `undefined` when there is none.
 *
 * What cannot be used is moved aside, never removed: it may be worth a look, and the next write must not destroy it.
 *
 * @throws {AnnotationFileError} when it belongs to somebody else or another cluster, is truncated, of a newer format or otherwise no such file
 */
export async function readAnnotationFile(file: string, cluster: string): Promise<AnnotationFile | undefined> {
  try {
    return parse(await readTrustedFile(file, FORBIDDEN_MODE, { maxBytes: MAX_BYTES }), cluster);
  } catch (error) {
    if (isMissingFile(error)) return undefined;
    const aside = `${file}.unusable-${new Date().toISOString().replaceAll(/[:.]/g, '-')}`;
    const moved = await rename(file, aside).then(
      () => `it was moved to ${aside}`,
      () => 'it could not be moved aside',
    );
    const reason = error instanceof Error ? error.message : String(error);
    throw new AnnotationFileError(`${file} cannot be used and ${moved}: ${reason}`, { cause: error });
  }
}

/** Writes it whole or not at all; makes the directory, for our eyes only, if it is missing. */
export async function writeAnnotationFile(
  file: string,
  {
    annotations,
    numbers,
  }: { readonly annotations: readonly Uint8Array[]; readonly numbers: AnnotationFile['numbers'] },
  cluster: string,
): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true, mode: DIRECTORY_MODE });
  const content = {
    format: FORMAT,
    cluster,
    numbers,
    annotations: annotations.map((annotation) => Buffer.from(annotation).toString('base64')),
  };
  await writeFileAtomically(file, Buffer.from(`${JSON.stringify(content)}\n`), { mode: MODE, onlyNew: false });
}

function parse(bytes: Uint8Array, cluster: string): AnnotationFile {
  let content: unknown;
  try {
    content = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (error) {
    throw new Error('truncated, or no JSON', { cause: error });
  }
  if (typeof content !== 'object' || content === null) throw new Error('no JSON object');
  const { format, cluster: written, numbers, annotations } = content as Record<string, unknown>;
  if (format !== FORMAT) throw new Error(`format ${String(format)}; this version knows ${FORMAT}`);
  if (written !== cluster) throw new Error(`of cluster ${JSON.stringify(written)}, this is ${JSON.stringify(cluster)}`);
  if (!isNumbers(numbers)) throw new Error('numbers: not an object of numbers');
  if (!Array.isArray(annotations)) throw new Error('annotations: no list');
  return {
    numbers,
    annotations: annotations.map((text: unknown) => {
      if (typeof text !== 'string') throw new Error('annotations: not a list of texts');
      return decodeAnnotation(Uint8Array.from(Buffer.from(text, 'base64')), cluster);
    }),
  };
}

function isNumbers(value: unknown): value is Record<string, number> {
  return (
    typeof value === 'object' && value !== null && Object.values(value).every((number) => Number.isSafeInteger(number))
  );
}
