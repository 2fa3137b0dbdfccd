import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { ConfigError } from '@sealwax/core';
import { z } from 'zod';
import { BUILT_IN } from '../load-backend.js';

const manifest = z.object({ bin: z.record(z.string(), z.string()) });

/**
 * Runs a backend's own commands: `sealwax local init` runs the bin `sealwax-local` of the local backend's package.
 *
 * @returns its exit code
 * @throws {ConfigError} when the package is not installed
 */
export async function runBackendCommand(backend: string, args: readonly string[]): Promise<number> {
  // Those of a bundled backend are a part of the bundle.
  const bundled = fileURLToPath(new URL(`./sealwax-${backend}.js`, import.meta.url));
  const script = existsSync(bundled) ? bundled : packageScript(backend);
  const child = spawn(process.execPath, [script, ...args], { stdio: 'inherit' });
  const [code] = (await once(child, 'exit')) as [number | null];
  return code ?? 1;
}

function packageScript(backend: string): string {
  const packageName = BUILT_IN[backend] ?? backend;
  let manifestFile: string;
  try {
    manifestFile = createRequire(import.meta.url).resolve(`${packageName}/package.json`);
  } catch (error) {
    throw new ConfigError('', `package ${packageName} is not installed; run: npm install ${packageName}`, {
      cause: error,
    });
  }
  const script = manifest.parse(JSON.parse(readFileSync(manifestFile, 'utf8'))).bin[`sealwax-${backend}`];
  if (script === undefined) throw new ConfigError('', `package ${packageName} has no commands`);
  return path.join(path.dirname(manifestFile), script);
}
