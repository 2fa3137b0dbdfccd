import * as nodeModule from 'node:module';
import { setFlagsFromString } from 'node:v8';

/** docs/performance.md has what each is worth. */
const FLAGS = ['--semi-space-growth-factor=1', '--heap-growing-percent=100', '--no-maglev'];

/**
 * Tells V8 how to use memory from now on.
 *
 * Not on the command line, where each start would take 40 ms more: V8 takes compiled code only under the flags that it was compiled with, and would
 * compile Node's own modules anew. For the same reason our own compiled code is kept before.
 */
export function setV8Flags(): void {
  if ('flushCompileCache' in nodeModule) (nodeModule.flushCompileCache as () => void)();
  for (const flag of FLAGS) setFlagsFromString(flag);
}
