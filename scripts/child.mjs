import { spawnSync } from 'node:child_process';
import path from 'node:path';

/** The folder of the clone. */
export const root = path.resolve(import.meta.dirname, '..');

/**
 * Runs a program to its end, its output passed on.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv }} [options]
 * @returns {number} its exit code; 1 when it did not start or a signal ended it
 */
export function run(command, args, { cwd = root, env = process.env } = {}) {
  const { status, error } = spawnSync(command, args, { cwd, env, stdio: ['ignore', 'inherit', 'inherit'] });
  if (error !== undefined) console.error(`${command} does not start: ${error.message}`);
  return status ?? 1;
}

/**
 * The same, with its output shown only when it fails.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @returns {number}
 */
export function runQuietly(command, args) {
  const { status, error, stdout, stderr } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (status !== 0) console.error(`${stdout ?? ''}${stderr ?? ''}${error === undefined ? '' : error.message}`);
  return status ?? 1;
}
