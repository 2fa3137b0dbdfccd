import { isBackendError, type Backend, type BackendError, type Fact } from '@sealwax/core';
import { lendHost } from '@sealwax/core/conformance';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { awsConfig } from '../src/config.js';
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
  const config = awsConfig.parse({ key: KEY_ARN, endpoint, auth: await accessKeyFiles(), ...changes });
  const life = new AbortController();
  const facts: Fact[] = [];
  const aws = await backend.open(
    config,
    lendHost('aws', (fact) => facts.push(fact), life.signal),
  );
  onTestFinished(async () => {
    life.abort();
    await aws.close();
  });
  return { aws, facts };
}

export async function failureOf(promise: Promise<unknown>): Promise<BackendError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (isBackendError(error)) return error;
  throw new Error('no BackendError', { cause: error });
}
