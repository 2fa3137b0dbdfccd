import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { backend } from '@sealwax/backend-local';
import { z } from 'zod';
import type { KeyUnderTest } from './key-under-test.js';
import { sealwaxCommand } from './sealwax.js';

const execFileAsync = promisify(execFile);
const keyLengthBytes = 32;
const noLogin = 'a key file has no login; its mode decides who reads it';

const keyFileSchema = z.looseObject({ versions: z.array(z.looseObject({ key: z.string() })) });
type KeyVersion = z.infer<typeof keyFileSchema>['versions'][number];

/** A key of the local backend. Its outage is a key file that may not be trusted. */
export async function startLocalKey(directory: string): Promise<KeyUnderTest> {
  const file = path.join(directory, 'kek.json');
  const away = `${file}.away`;
  await execFileAsync(sealwaxCommand, ['local', 'init', file]);
  const edit = async (change: (versions: KeyVersion[]) => KeyVersion[]): Promise<void> => {
    const content = keyFileSchema.parse(JSON.parse(await readFile(file, 'utf8')));
    await writeFile(file, JSON.stringify({ ...content, versions: change(content.versions) }));
  };
  return {
    backend: 'local',
    harness: {
      module: backend,
      config: { path: file },
      secrets: [],
      faults: {
        stranger: 'a file is not asked over a network',
        rotate: async () => {
          await execFileAsync(sealwaxCommand, ['local', 'rotate', file]);
        },
        stall: 'a key file is no service that could be slow',
        outage: () => chmod(file, 0o644),
        throttle: 'a key file is no service that could be busy',
        expireCredential: noLogin,
        deny: noLogin,
        disable: 'a key file has no switch',
        deleteKey: () => rename(file, away),
        destroyOldVersion: () => edit((versions) => versions.slice(-1)),
        replaceKek: () =>
          edit((versions) =>
            versions.map((version) => ({ ...version, key: randomBytes(keyLengthBytes).toString('base64') })),
          ),
      },
      mend: async () => {
        await rename(away, file).catch(() => undefined);
        await chmod(file, 0o600);
      },
    },
    stop: async () => Promise.resolve(),
  };
}
