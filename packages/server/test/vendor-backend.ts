import { chmod, copyFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** Puts the backend of `faulty-backend.mjs` into `directory`; its path is what a config may name. */
export async function copyVendorBackend(directory: string): Promise<string> {
  const module = path.join(directory, 'vendor.mjs');
  await copyFile(fileURLToPath(new URL('faulty-backend.mjs', import.meta.url)), module);
  await chmod(module, 0o644);
  return module;
}
