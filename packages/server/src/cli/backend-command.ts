import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/**
 * Runs a backend's own commands, which are a part of the bundle: `sealwax local init` runs `sealwax-local.js` with `init`.
 *
 * @returns its exit code
 */
export async function runBackendCommand(backend: string, args: readonly string[]): Promise<number> {
  const script = fileURLToPath(new URL(`./sealwax-${backend}.js`, import.meta.url));
  const child = spawn(process.execPath, [script, ...args], { stdio: 'inherit' });
  const [code] = (await once(child, 'exit')) as [number | null];
  return code ?? 1;
}
