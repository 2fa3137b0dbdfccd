import { ConfigError } from '@sealwax/core';
import { distance } from 'fastest-levenshtein';

/** What Standard Schema says of an issue, and what zod adds to it. */
export interface SchemaIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
  readonly code?: string;
  readonly keys?: readonly string[];
}

/** The parts of JSON Schema that lead to the keys an object may have. */
interface JsonSchema {
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
}

/** A `ConfigError` together with the steps to the place it means. */
export interface LocatedError {
  readonly error: ConfigError;
  readonly path: readonly PropertyKey[];
}

/** An issue that names several unknown keys, as one issue for each. */
export function eachUnknownKey(issue: SchemaIssue): readonly SchemaIssue[] {
  if (issue.code !== 'unrecognized_keys' || issue.keys === undefined) return [issue];
  return issue.keys.map((unknownKey) => ({ ...issue, keys: [unknownKey] }));
}

/**
 * An issue as a `ConfigError`; for an unknown key, with the known key that is nearest.
 *
 * @param prefix - steps to the section that was checked, for instance `['keys', 0, 'config']`
 * @param section - that section's JSON Schema, where its library offers one
 */
export function locate(issue: SchemaIssue, prefix: readonly PropertyKey[], section: unknown): LocatedError {
  const steps = (issue.path ?? []).map((step) => (typeof step === 'object' ? step.key : step));
  const [unknownKey] = issue.code === 'unrecognized_keys' ? (issue.keys ?? []) : [];
  if (unknownKey === undefined) {
    const path = [...prefix, ...steps];
    return { path, error: new ConfigError(pathText(path), issue.message) };
  }
  const path = [...prefix, ...steps, unknownKey];
  const near = nearest(unknownKey, knownKeys(section as JsonSchema | undefined, steps));
  return {
    path,
    error: new ConfigError(pathText(path), `unknown key${near === undefined ? '' : `; did you mean "${near}"?`}`),
  };
}

/** `keys[0].config.path` */
function pathText(path: readonly PropertyKey[]): string {
  return path
    .map((step, index) => (typeof step === 'number' ? `[${step}]` : `${index === 0 ? '' : '.'}${String(step)}`))
    .join('');
}

/** The one of `candidates` that is most like `word`, if one is like it at all. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const [best] = candidates.toSorted((a, b) => distance(word, a) - distance(word, b));
  return best !== undefined && distance(word, best) <= Math.max(2, word.length / 3) ? best : undefined;
}

function knownKeys(schema: JsonSchema | undefined, steps: readonly PropertyKey[]): string[] {
  if (schema === undefined) return [];
  const branches = [...(schema.anyOf ?? []), ...(schema.oneOf ?? [])];
  if (branches.length > 0) return branches.flatMap((branch) => knownKeys(branch, steps));
  const [step, ...rest] = steps;
  if (step === undefined) return Object.keys(schema.properties ?? {});
  return knownKeys(typeof step === 'number' ? schema.items : schema.properties?.[String(step)], rest);
}
