import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';

/** An access key as files, and `auth` of a config that names them. */
export interface AccessKeyFiles {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly auth: {
    readonly method: 'files';
    readonly accessKeyIdFile: string;
    readonly secretAccessKeyFile: string;
  };
}

/** @param secretAccessKey - a new random one when absent, for a service that checks no signature */
export async function writeAccessKey(
  directory: string,
  accessKeyId: string,
  secretAccessKey = randomBytes(20).toString('hex'),
): Promise<AccessKeyFiles> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const accessKeyIdFile = path.join(directory, 'access-key-id');
  const secretAccessKeyFile = path.join(directory, 'secret-access-key');
  await writeSecret(accessKeyIdFile, accessKeyId);
  await writeSecret(secretAccessKeyFile, secretAccessKey);
  return { accessKeyId, secretAccessKey, auth: { method: 'files', accessKeyIdFile, secretAccessKeyFile } };
}

/** With a line's end, as an editor leaves it. */
export async function writeSecret(file: string, secret: string): Promise<void> {
  await writeFile(file, `${secret}\n`, { mode: 0o600 });
}
