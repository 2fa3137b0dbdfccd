import { spawn } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** As built: `npm run build` comes before. */
export const SEALWAX = fileURLToPath(new URL('../bin/sealwax', import.meta.url));

/** How a command ended, and what it said. */
export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** The environment of a command: this Node and nothing else of the machine's. */
export function cleanEnvironment(more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  return { PATH: `${path.dirname(process.execPath)}:${process.env['PATH'] ?? ''}`, HOME: process.env['HOME'], ...more };
}

/** Runs `sealwax` to its end. */
export function sealwax(args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Ended> {
  return run(SEALWAX, args, environment);
}

/** Runs a shell's command line, in which `"$0" "$@"` is `sealwax` with `args`. */
export function shell(line: string, args: readonly string[]): Promise<Ended> {
  return run('/bin/sh', ['-c', line, SEALWAX, ...args]);
}

function run(program: string, args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: cleanEnvironment(environment) });
    const [out, err]: [string[], string[]] = [[], []];
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk.toString()));
    child.on('error', reject);
    child.on('close', (code) => {
      resolve({ code, out: out.join(''), err: err.join('') });
    });
  });
}
