import { BACKEND_API_VERSION, type BackendModule, type Key } from '@sealwax/core';
import { eachUnknownKey, locate, nearest, type LocatedError, type SchemaIssue } from './config/issue.js';
import type { KeyConfig } from './config/schema.js';

/** The backends that are chosen by a short name, and their packages. The only place in the server that names a provider. */
export const BUILT_IN: Readonly<Record<string, string>> = {
  hsm: '@sealwax/backend-hsm',
  local: '@sealwax/backend-local',
};

/** A key with its backend's module and its config as that module's schema returned it. */
export type LoadedKey = Key;

/**
 * Imports the backend that `key` names and checks its section of the config. Nothing of another backend is loaded.
 *
 * @param path - steps to `key` in the config
 * @returns what is wrong, as `located`, instead of the key
 */
export async function loadBackend(
  key: KeyConfig,
  path: readonly PropertyKey[],
): Promise<LoadedKey | { readonly located: readonly LocatedError[] }> {
  const fault = (message: string) => ({ located: [locate({ message }, [...path, 'backend'], undefined)] });
  const packageName = Object.hasOwn(BUILT_IN, key.backend) ? BUILT_IN[key.backend] : undefined;
  if (packageName === undefined) {
    const names = Object.keys(BUILT_IN);
    const near = nearest(key.backend, names);
    return fault(`unknown backend; ${near === undefined ? `known: ${names.join(', ')}` : `did you mean "${near}"?`}`);
  }
  const module = await importBackend(packageName);
  if (typeof module === 'string') return fault(module);

  const outcome = await module.config['~standard'].validate(key.config ?? {});
  if (outcome.issues !== undefined) {
    const section = configJsonSchema(module);
    const issues = (outcome.issues as readonly SchemaIssue[]).flatMap(eachUnknownKey);
    return { located: issues.map((issue) => locate(issue, [...path, 'config'], section)) };
  }
  const { name, role, required, backend: backendName } = key;
  return { name, role, required, backendName, module, config: outcome.value };
}

/** The module of a backend's package, or the reason why there is none. */
export async function importBackend(packageName: string): Promise<BackendModule<unknown> | string> {
  let exports: unknown;
  try {
    exports = await import(packageName);
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND';
    if (missing) return `package ${packageName} is not installed; run: npm install ${packageName}`;
    return `package ${packageName} cannot be loaded: ${error instanceof Error ? error.message : String(error)}`;
  }
  const module = typeof exports === 'object' && exports !== null && 'backend' in exports ? exports.backend : undefined;
  if (typeof module !== 'object' || module === null || !('apiVersion' in module)) {
    return `package ${packageName} has no export named "backend"`;
  }
  if (module.apiVersion !== BACKEND_API_VERSION) {
    return `package ${packageName} was written for backend API ${String(module.apiVersion)}, this server speaks ${BACKEND_API_VERSION}; install matching versions`;
  }
  return module as BackendModule<unknown>;
}

/** The JSON Schema of a backend's config section, where its schema library offers one. */
export function configJsonSchema({ config }: BackendModule<unknown>): unknown {
  const standard: object = config['~standard'];
  if (!('jsonSchema' in standard)) return undefined;
  const { input } = standard.jsonSchema as { input: (options: { target: string }) => unknown };
  return input({ target: 'draft-2020-12' });
}
