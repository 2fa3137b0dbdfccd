import { setTimeout as sleep } from 'node:timers/promises';
import { BACKEND_API_VERSION, type BackendModule, type Key } from '@sealwax/core';
import { eachUnknownKey, locate, type LocatedError, type SchemaIssue } from './config/issue.js';
import type { KeyConfig } from './config/schema.js';
import { findBackend, type BackendPackage, type BackendPlaces } from './find-backend.js';

/** The backends that are chosen by a short name, and their packages. The only place in the server that names a provider. */
export const BUILT_IN: Readonly<Record<string, string>> = {
  hsm: '@sealwax/backend-hsm',
  local: '@sealwax/backend-local',
  aws: '@sealwax/backend-aws',
  azure: '@sealwax/backend-azure',
  gcp: '@sealwax/backend-gcp',
  vault: '@sealwax/backend-vault',
};

/** For an import or a schema that never settles. */
const LOAD_TIMEOUT_MS = 30_000;
/** The one that this server speaks, and the one before. */
const ACCEPTED_API_VERSIONS = [BACKEND_API_VERSION, BACKEND_API_VERSION - 1].filter((accepted) => accepted > 0);

/** A key with its backend's module, its config as that module's schema returned it, and where the module came from. */
export interface LoadedKey extends Key {
  readonly backendPackage: BackendPackage;
}

/**
 * Imports the backend that `key` names and checks its section of the config. Nothing of another backend is loaded.
 *
 * @param path - steps to `key` in the config
 * @returns what is wrong, as `located`, instead of the key
 */
export async function loadBackend(
  key: KeyConfig,
  path: readonly PropertyKey[],
  places: Omit<BackendPlaces, 'builtIn'>,
): Promise<LoadedKey | { readonly located: readonly LocatedError[] }> {
  const fault = (message: string) => ({ located: [locate({ message }, [...path, 'backend'], undefined)] });
  const imported = await importBackend(key.backend, places);
  if (typeof imported === 'string') return fault(imported);
  const { module, backendPackage } = imported;
  let outcome: Awaited<ReturnType<(typeof module.config)['~standard']['validate']>>;
  try {
    outcome = await inTime(async () => module.config['~standard'].validate(key.config ?? {}));
  } catch (error) {
    return fault(
      `${described(backendPackage)} failed to check the config: ${textOf(error)}; that is a fault of the package`,
    );
  }
  if (outcome.issues !== undefined) {
    const section = configJsonSchema(module);
    const issues = (outcome.issues as readonly SchemaIssue[]).flatMap(eachUnknownKey);
    return { located: issues.map((issue) => locate(issue, [...path, 'config'], section)) };
  }
  const { name, role, required, backend: backendName } = key;
  return { name, role, required, backendName, module, config: outcome.value, backendPackage };
}

/** The module of a backend and its package, or the reason why there is none. */
export async function importBackend(
  backend: string,
  places: Omit<BackendPlaces, 'builtIn'>,
): Promise<{ readonly module: BackendModule<unknown>; readonly backendPackage: BackendPackage } | string> {
  const found = await findBackend(backend, { builtIn: BUILT_IN, ...places });
  if (typeof found === 'string') return found;
  const { url, ...backendPackage } = found;
  const what = described(backendPackage);
  let exported: unknown;
  try {
    exported = await inTime(async () => (await import(url)) as unknown);
  } catch (error) {
    return `${what} cannot be loaded: ${textOf(error)}; install it again or another version`;
  }
  const module = property(exported, 'backend');
  if (module === undefined) return `${what} is no backend: it has no export named "backend"`;
  const apiVersion = property(module, 'apiVersion');
  if (!ACCEPTED_API_VERSIONS.some((accepted) => accepted === apiVersion)) {
    const which = typeof apiVersion === 'number' && apiVersion > BACKEND_API_VERSION ? 'Sealwax' : 'the package';
    const ours = ACCEPTED_API_VERSIONS.join(' and ');
    return `${what} was written for backend API ${textOf(apiVersion)}, this server speaks ${ours}; upgrade ${which}`;
  }
  const validate = property(property(property(module, 'config'), '~standard'), 'validate');
  if (typeof property(module, 'open') !== 'function' || typeof validate !== 'function') {
    return `${what} is no backend: "backend" needs a function "open" and a Standard Schema "config"`;
  }
  return { module: module as BackendModule<unknown>, backendPackage };
}

/** The JSON Schema of a backend's config section, where its schema library offers one. */
export function configJsonSchema({ config }: BackendModule<unknown>): unknown {
  const standard: object = config['~standard'];
  if (!('jsonSchema' in standard)) return undefined;
  const { input } = standard.jsonSchema as { input: (options: { target: string }) => unknown };
  return input({ target: 'draft-2020-12' });
}

/** `@sealwax/backend-local 0.1.0` */
export function describePackage({ name, version }: BackendPackage): string {
  return version === undefined ? name : `${name} ${version}`;
}

/** `prod (write, local by @sealwax/backend-local 0.1.0)` */
export function describeKey({ name, role, backendName, backendPackage }: LoadedKey): string {
  return `${name} (${role}, ${backendName} by ${describePackage(backendPackage)})`;
}

function described(backendPackage: BackendPackage): string {
  return `package ${describePackage(backendPackage)}`;
}

async function inTime<T>(work: () => Promise<T>): Promise<T> {
  const over = new AbortController();
  const late = async (): Promise<never> => {
    await sleep(LOAD_TIMEOUT_MS, undefined, { signal: over.signal });
    throw new Error(`not done within ${LOAD_TIMEOUT_MS / 1000} s`);
  };
  try {
    return await Promise.race([work(), late()]);
  } finally {
    over.abort();
  }
}

function property(value: unknown, name: string): unknown {
  const holds = (typeof value === 'object' && value !== null) || typeof value === 'function';
  return holds ? (value as Readonly<Record<string, unknown>>)[name] : undefined;
}

/** The first line: Node's own messages go on with a stack. */
function textOf(thrown: unknown): string {
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return text.split('\n')[0] ?? '';
}
