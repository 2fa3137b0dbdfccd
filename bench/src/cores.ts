import { availableParallelism } from 'node:os';

/** The core of the server that is measured. */
export const serverCore = 0;
/** The core of its client; the same where there is one only. */
export const clientCore = Math.min(1, availableParallelism() - 1);

/** `command` held to one core, where the system can do that. */
export function pinned(core: number, command: readonly string[]): readonly string[] {
  return process.platform === 'linux' ? ['taskset', '-c', String(core), ...command] : command;
}
