import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { conformanceCases, type Harness } from '@sealwax/core/conformance';
import { afterAll, describe, test } from 'vitest';
import { backend } from '../src/index.js';
import { createKeyFile, rotateKeyFile } from '../src/key-file.js';

const directory = await mkdtemp(path.join(tmpdir(), 'sealwax-local-'));
afterAll(() => rm(directory, { recursive: true, force: true }));

const keyFile = path.join(directory, 'kek.json');
const KEY_LENGTH = 32;
const away = `${keyFile}.away`;
await createKeyFile(keyFile);

const NO_SERVICE = 'a key file is no service that could be away, slow or busy';
const NO_LOGIN = 'a key file has no login; its mode decides who reads it';

interface StoredVersion {
  readonly id: string;
  readonly created: string;
  readonly key: string;
}

/** What nobody should do with a key file that wrapped data. */
async function editVersions(edit: (versions: readonly StoredVersion[]) => readonly StoredVersion[]): Promise<void> {
  const file = JSON.parse(await readFile(keyFile, 'utf8')) as { readonly versions: readonly StoredVersion[] };
  await writeFile(keyFile, JSON.stringify({ ...file, versions: edit(file.versions) }));
}

const harness: Harness = {
  module: backend,
  moduleUrl: path.resolve(import.meta.dirname, '../dist/index.js'),
  config: { path: keyFile },
  secrets: [],
  faults: {
    stranger: NO_SERVICE,
    rotate: async () => {
      await rotateKeyFile(keyFile);
    },
    stall: NO_SERVICE,
    outage: NO_SERVICE,
    throttle: NO_SERVICE,
    expireCredential: NO_LOGIN,
    deny: NO_LOGIN,
    disable: 'a key file has no switch',
    deleteKey: () => rename(keyFile, away),
    destroyOldVersion: () => editVersions((versions) => versions.slice(-1)),
    replaceKek: () =>
      editVersions((versions) =>
        versions.map((version) => ({ ...version, key: randomBytes(KEY_LENGTH).toString('base64') })),
      ),
  },
  mend: async () => {
    await rename(away, keyFile).catch(() => undefined);
  },
};

describe('the conformance kit, on a key file', () => {
  for (const { name, skip, run } of conformanceCases(harness)) {
    if (skip === undefined) test(name, { timeout: 120_000 }, run);
    else test.skip(`${name} (${skip})`);
  }
});
