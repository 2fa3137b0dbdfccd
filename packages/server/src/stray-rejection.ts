import { describePackage, type LoadedKey } from './load-backend.js';
import type { Log } from './log.js';

/**
 * Logs promises that a backend let go unhandled, with the backend that did so; without this, each would end the process and with it all
 * other keys.
 *
 * @param keys - those in force now
 */
export function surviveStrayRejections(log: Log, keys: () => readonly LoadedKey[]): void {
  process.on('unhandledRejection', (error) => {
    const suspects = suspectsOf(error, keys());
    if (suspects.length === 0) log.error({ error }, 'unhandled rejection');
    const named = suspects.map(({ name, backendPackage }) => ({ key: name, package: describePackage(backendPackage) }));
    for (const suspect of named)
      log.error({ ...suspect, error }, 'unhandled rejection of a backend; the plugin goes on');
  });
}

/** The keys whose backend's code is in the stack of `error`, or of one of its causes; what is no error has none. */
function suspectsOf(error: unknown, keys: readonly LoadedKey[]): readonly LoadedKey[] {
  let stack = '';
  for (let each = error; each instanceof Error; each = each.cause) stack += each.stack ?? '';
  return keys.filter(({ backendPackage }) => backendPackage.paths.some((path) => stack.includes(path)));
}
