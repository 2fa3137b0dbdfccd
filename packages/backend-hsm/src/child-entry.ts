import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { ConfigError } from '@sealwax/core';

const ENTRY = 'child/main.js';

/**
 * The script of the process that loads the module.
 *
 * It lies beside this file, or, when this file was bundled into something else, in the installed package.
 *
 * @throws {ConfigError} when it, or what it needs, is not installed
 */
export function childEntry(): string {
  const beside = fileURLToPath(new URL(ENTRY, import.meta.url));
  const entry = existsSync(beside) ? beside : inPackage();
  try {
    createRequire(entry).resolve('pkcs11js');
  } catch (error) {
    throw new ConfigError('', HOW_TO_GET, { cause: error });
  }
  return entry;
}

/** @see docs/backends/hsm.md, Install pkcs11js */
export const HOW_TO_GET =
  'pkcs11js is not installed: npm leaves it out where it cannot be compiled. With a C++ compiler, make and python3 at hand, run: npm install --allow-scripts=pkcs11js pkcs11js';

function inPackage(): string {
  const require = createRequire(import.meta.url);
  try {
    return path.join(path.dirname(require.resolve('@sealwax/backend-hsm/package.json')), 'dist', ENTRY);
  } catch (error) {
    throw new ConfigError('', 'package @sealwax/backend-hsm is not installed; run: npm install @sealwax/backend-hsm', {
      cause: error,
    });
  }
}
