import { ConfigError, FileError, isMissingFile, readTrustedFile } from '@sealwax/core';
import type { Document } from 'yaml';
import { z } from 'zod';
import { loadBackend, type LoadedKey } from '../load-backend.js';
import { eachUnknownKey, locate, type LocatedError } from './issue.js';
import { parseYaml } from './parse-yaml.js';
import { configSchema, settleRoles, type Config } from './schema.js';

// Whoever can write to the config decides which KMS wraps; it may be read by all, as no secret stands in it.
const FORBIDDEN_MODE = 0o022;

/** A config file that is right in every part, its backends loaded and their sections checked. */
export interface LoadedConfig extends Omit<Config, 'keys'> {
  /** In the order of the file. */
  readonly loadedKeys: readonly LoadedKey[];
}

/**
 * Reads, parses and checks a config file.
 *
 * @throws {ConfigError} each line of the message is `<file>:<line>: <path>: <what is wrong>`; no value of the file is in it
 */
export async function loadConfig(file: string): Promise<LoadedConfig> {
  let text: string;
  try {
    text = Buffer.from(await readTrustedFile(file, FORBIDDEN_MODE)).toString('utf8');
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    throw new ConfigError('', `config ${error.message}${isMissingFile(error) ? '; name another with --config' : ''}`, {
      cause: error,
    });
  }
  const { value, document, place } = parseYaml(text, file);
  const refuse = (located: readonly LocatedError[]) =>
    new ConfigError(
      '',
      located.map(({ path, error }) => `${place(offsetOf(document, path))}: ${error.message}`).join('\n'),
    );

  const parsed = configSchema.safeParse(value);
  if (!parsed.success) {
    const schema = z.toJSONSchema(configSchema, { io: 'input' });
    throw refuse(parsed.error.issues.flatMap(eachUnknownKey).map((issue) => locate(issue, [], schema)));
  }
  const { keys, issues } = settleRoles(parsed.data);
  if (issues.length > 0) throw refuse(issues.map((issue) => locate(issue, [], undefined)));
  const loadedKeys: LoadedKey[] = [];
  for (const [index, key] of keys.entries()) {
    const loaded = await loadBackend(key, ['keys', index], { backendsDir: parsed.data.backendsDir, configFile: file });
    if ('located' in loaded) throw refuse(loaded.located);
    loadedKeys.push(loaded);
  }
  return { ...parsed.data, loadedKeys };
}

/** Where in the text the node at `path` begins, or the nearest one above it that exists. */
function offsetOf(document: Document, path: readonly PropertyKey[]): number {
  for (let length = path.length; length > 0; length -= 1) {
    const steps = path.slice(0, length);
    const parent: unknown = document.getIn(steps.slice(0, -1), true);
    const pairs =
      typeof parent === 'object' && parent !== null && 'items' in parent && Array.isArray(parent.items)
        ? parent.items
        : [];
    for (const [index, item] of (pairs as unknown[]).entries()) {
      const offset = startOf(item, index, steps.at(-1));
      if (offset !== undefined) return offset;
    }
  }
  return 0;
}

/** Where `item`, one of a mapping's pairs or a sequence's items, begins, if `step` leads to it. */
function startOf(item: unknown, index: number, step: PropertyKey | undefined): number | undefined {
  if (typeof item !== 'object' || item === null) return undefined;
  const node: unknown = 'key' in item ? item.key : item;
  if (typeof node !== 'object' || node === null || !('range' in node) || !Array.isArray(node.range)) return undefined;
  const matches = 'key' in item ? 'value' in node && node.value === step : index === step;
  const start: unknown = node.range[0];
  return matches && typeof start === 'number' ? start : undefined;
}
