import { cp, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { isConfigError, type BackendModule } from '@sealwax/core';
import { openBackend } from '@sealwax/core/conformance';
import { expect, onTestFinished, test } from 'vitest';

test('without pkcs11js everything loads, and only opening says what is missing and how to get it', async () => {
  // An installation in which npm left the optional dependency out.
  const directory = await mkdtemp(path.join(tmpdir(), 'sealwax-hsm-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  await mkdir(`${directory}/node_modules/@sealwax`, { recursive: true });
  await cp(path.resolve(import.meta.dirname, '../dist'), `${directory}/dist`, { recursive: true });
  await cp(path.resolve(import.meta.dirname, '../package.json'), `${directory}/package.json`);
  for (const name of ['@sealwax/core', 'zod']) {
    const manifest = createRequire(import.meta.url).resolve(`${name}/package.json`);
    await symlink(path.dirname(manifest), `${directory}/node_modules/${name}`);
  }
  const { backend } = (await import(pathToFileURL(`${directory}/dist/index.js`).href)) as {
    backend: BackendModule<unknown>;
  };
  const config = { module: process.execPath, token: { label: 'kms' }, key: { label: 'kms' } };
  const error = await openBackend({ module: backend, config }).catch((thrown: unknown) => thrown);
  expect(isConfigError(error)).toBe(true);
  expect(error).toMatchObject({ message: expect.stringMatching(/pkcs11js is not installed.*npm install/) });
});
