import { readFileSync } from 'node:fs';
import { SourceMap, type SourceMapPayload } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** By the path of the file they are for, `undefined` where there is none. */
const maps = new Map<string, SourceMap | undefined>();

/**
 * Makes stack traces point at the sources, ours and those of a vendor who ships `<file>.js.map` beside `<file>.js`.
 *
 * Node's `--enable-source-maps` does so too, but reads the map of every file at each start and keeps them all; here a map is read when a stack
 * trace needs it first.
 */
export function pointStackTracesAtSources(): void {
  Error.prepareStackTrace = (error, frames) =>
    [String(error), ...frames.map((frame) => `    at ${sourceOf(frame)}`)].join('\n');
}

/** A frame of V8's, whose types leave out that it shows itself as a line of a stack trace, and that eval has no file. */
interface Frame extends Pick<NodeJS.CallSite, 'getLineNumber' | 'getColumnNumber'> {
  getFileName(): string | null | undefined;
  toString(): string;
}

function sourceOf(frame: Frame): string {
  const shown = String(frame);
  const [name, line, column] = [frame.getFileName(), frame.getLineNumber(), frame.getColumnNumber()];
  if (name === null || name === undefined || line === null || column === null) return shown;
  const file = name.startsWith('file:') ? fileURLToPath(name) : name;
  const entry = mapOf(file)?.findEntry(line - 1, column - 1);
  if (entry === undefined || !('originalSource' in entry)) return shown;
  const source = path.resolve(path.dirname(file), entry.originalSource);
  const place = `${source}:${entry.originalLine + 1}:${entry.originalColumn + 1}`;
  // By a function: a "$" in a path is no pattern.
  return shown.replace(`${name}:${line}:${column}`, () => place);
}

function mapOf(file: string): SourceMap | undefined {
  if (!maps.has(file)) maps.set(file, path.isAbsolute(file) ? readMap(`${file}.map`) : undefined);
  return maps.get(file);
}

function readMap(file: string): SourceMap | undefined {
  try {
    return new SourceMap(JSON.parse(readFileSync(file, 'utf8')) as SourceMapPayload);
  } catch {
    // No map, or none that can be read: the trace names the file that runs.
    return undefined;
  }
}
