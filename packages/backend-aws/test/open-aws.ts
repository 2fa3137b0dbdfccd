import type { Backend, Fact } from '@sealwax/core';
import { openBackend } from '@sealwax/core/conformance';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { backend } from '../src/index.js';
import { KEY_ARN } from './kms-double.js';
import { temporaryDirectory } from './temporary-directory.js';

export const signal: AbortSignal = new AbortController().signal;
export const LOCAL_KEY = new Uint8Array(32).fill(7);

/** `auth` of a config, with files that hold an access key. */
export async function accessKeyFiles() {
  const directory = await temporaryDirectory();
  const accessKeyIdFile = path.join(directory, 'id');
  const secretAccessKeyFile = path.join(directory, 'secret');
  await writeFile(accessKeyIdFile, 'AKIAEXAMPLE\n', { mode: 0o600 });
  await writeFile(secretAccessKeyFile, 'the secret access key\n', { mode: 0o600 });
  return { method: 'files', accessKeyIdFile, secretAccessKeyFile } as const;
}

/** @param changes - to a config that names KEY_ARN at `endpoint` with an access key in files */
export async function openAws(
  endpoint: string,
  changes: Readonly<Record<string, unknown>> = {},
): Promise<{ readonly aws: Backend; readonly facts: readonly Fact[] }> {
  const config = { key: KEY_ARN, endpoint, auth: await accessKeyFiles(), ...changes };
  const opened = await openBackend({ module: backend, config });
  onTestFinished(() => opened.end());
  return { aws: opened.backend, facts: opened.facts };
}
