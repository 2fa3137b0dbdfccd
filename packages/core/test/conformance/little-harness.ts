import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Harness } from '../../src/conformance/index.js';
import { LittleKms } from './little-kms.js';
import { backend } from './little-module.js';
import { toJavaScript } from './to-javascript.js';

export interface RunningHarness {
  readonly harness: Harness;
  readonly stop: () => Promise<void>;
}

/**
 * A service of its own, and a backend for it that has `flaw`.
 *
 * @param moduleUrl - see `buildModule`
 */
export async function littleHarness(moduleUrl: string, flaw?: string): Promise<RunningHarness> {
  const directory = await mkdtemp(path.join(tmpdir(), 'sealwax-kit-'));
  const tokenFile = path.join(directory, 'token');
  const kms = new LittleKms(path.join(directory, 'kms.sock'));
  /** All that ever were. */
  const tokens: string[] = [];
  const newToken = async () => {
    const token = randomBytes(16).toString('hex');
    tokens.push(token);
    kms.tokens.add(token);
    await writeFile(tokenFile, token, { mode: 0o600 });
  };
  await newToken();
  await kms.start();
  const harness: Harness = {
    module: backend,
    moduleUrl,
    config: { socket: kms.path, tokenFile, ...(flaw !== undefined && { flaw }) },
    secrets: tokens,
    faults: {
      rotate: async () => {
        kms.rotate();
      },
      stall: async () => {
        kms.mode = 'stalled';
      },
      outage: () => kms.stop(),
      throttle: async () => {
        kms.mode = 'busy';
      },
      expireCredential: async () => {
        kms.tokens.clear();
      },
      deny: async () => {
        kms.mode = 'denied';
      },
      disable: async () => {
        kms.mode = 'disabled';
      },
      deleteKey: async () => {
        kms.deleteKey();
      },
      destroyOldVersion: async () => {
        kms.destroyOldVersions();
      },
      replaceKek: async () => {
        kms.replaceKek();
      },
      stranger: async () => {
        kms.stranger = kms.stranger === 403 ? 404 : 403;
      },
    },
    mend: async () => {
      await kms.mend();
      if (kms.tokens.size === 0) await newToken();
    },
  };
  return {
    harness,
    stop: async () => {
      await kms.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/**
 * The little backend as JavaScript, which another process can import as it is.
 *
 * @returns its path, inside this package so that it finds the built core, and where nothing is shipped from
 */
export async function buildModule(): Promise<{ readonly moduleUrl: string; readonly remove: () => Promise<void> }> {
  const root = path.resolve(import.meta.dirname, '../../node_modules/.cache');
  await mkdir(root, { recursive: true });
  const built = await mkdtemp(path.join(root, 'little-'));
  await mkdir(path.join(built, 'flaws'));
  const flaws = await readdir(path.join(import.meta.dirname, 'flaws'));
  const sources = ['little-module.ts', 'little-backend.ts', ...flaws.map((file) => `flaws/${file}`)];
  for (const source of sources) {
    const text = await readFile(path.join(import.meta.dirname, source), 'utf8');
    await writeFile(path.join(built, source.replace(/\.ts$/, '.js')), toJavaScript(text));
  }
  return {
    moduleUrl: path.join(built, 'little-module.js'),
    remove: () => rm(built, { recursive: true, force: true }),
  };
}
