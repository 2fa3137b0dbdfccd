import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { freePort } from '@sealwax/e2e/free-port';
import type { Figure } from './figure.js';
import type { LoadClient, Spawn } from './load-client.js';
import { sealwaxSubject, type Subject } from './subject.js';

interface StartOptions {
  readonly client: LoadClient;
  readonly rounds: number;
}

/** Where what is started has its files. */
const programs = [
  path.resolve(import.meta.dirname, '../../packages/server/dist'),
  path.resolve(import.meta.dirname, '../../packages/server/.compile-cache'),
  import.meta.dirname,
];

/** Time from the start of the process until Status says "ok". */
export async function measureStart(subjects: readonly Subject[], { client, rounds }: StartOptions): Promise<Figure[]> {
  const spawns = await alternate(subjects, { client, rounds, healthy: true });
  return subjects.flatMap(({ name: subject }, index) => {
    const values = spawns[index] ?? [];
    const what = 'start until Status is ok';
    return [
      { name: what, subject, unit: 'ms', values: values.map(({ ms }) => ms), target: '≤ 85 ms, ≤ 1.6 × reference' },
      { name: `${what}, CPU`, subject, unit: 'ms', values: values.map(({ cpuMs }) => cpuMs) },
    ];
  });
}

/** The same after the system forgot Node and all files of the program, as after a boot. */
export async function measureColdStart(
  directory: string,
  subjects: readonly Subject[],
  { client, rounds }: StartOptions,
): Promise<Figure[]> {
  // A copy: what we run ourselves is mapped, and stays in memory.
  const nodeDirectory = path.join(directory, 'node');
  await mkdir(nodeDirectory, { recursive: true });
  await copyFile(process.execPath, path.join(nodeDirectory, 'node'));
  const directories = [nodeDirectory, ...programs.filter((folder) => existsSync(folder))];
  const spawns = await alternate(subjects, {
    client,
    rounds,
    healthy: true,
    path: [nodeDirectory, process.env['PATH']].join(path.delimiter),
    before: () => client.evict(directories),
  });
  return subjects.map(({ name: subject }, index) => ({
    name: 'start until Status is ok, cold disk cache',
    subject,
    unit: 'ms',
    values: (spawns[index] ?? []).map(({ ms }) => ms),
  }));
}

/**
 * What each backend adds to the start: time until Status is answered, with a KMS that nobody listens for, less that with the local backend.
 *
 * The answer does not wait for a KMS, so that this is the cost of the code alone.
 */
export async function measureBackends(directory: string, { client, rounds }: StartOptions): Promise<Figure[]> {
  const subjects = await Promise.all(
    Object.entries(await configs(directory)).map(async ([backend, config]) =>
      sealwaxSubject(path.join(directory, backend), {
        name: backend,
        sections: { keys: [{ name: 'prod', backend, config }] },
      }),
    ),
  );
  const local = await sealwaxSubject(path.join(directory, 'local'));
  const [base = [], ...spawns] = await alternate([local, ...subjects], { client, rounds, healthy: false });
  return subjects.flatMap(({ name }, index) => {
    const spawned = spawns[index] ?? [];
    const lessLocal = (of: (spawn: Spawn) => number): number[] =>
      spawned.flatMap((spawn, round) => (base[round] === undefined ? [] : [of(spawn) - of(base[round])]));
    const what = `start until Status is answered, ${name} less local`;
    const subject = 'sealwax';
    return [
      { name: what, subject, unit: 'ms', values: lessLocal(({ ms }) => ms), target: '≤ 120 ms' },
      { name: `${what}, CPU`, subject, unit: 'ms', values: lessLocal(({ cpuMs }) => cpuMs) },
    ];
  });
}

/** The starts of each subject, one a round. */
async function alternate(
  subjects: readonly Subject[],
  {
    client,
    rounds,
    before,
    ...options
  }: StartOptions & { readonly healthy: boolean; readonly path?: string; readonly before?: () => Promise<void> },
): Promise<Spawn[][]> {
  const spawns: Spawn[][] = subjects.map(() => []);
  // The first fills the disk cache and, where Node has one, the cache of compiled code.
  for (let round = -1; round < rounds; round += 1) {
    for (const [index, { socket, command }] of subjects.entries()) {
      await before?.();
      const spawn = await client.spawn(socket, { command, ...options });
      if (round >= 0) spawns[index]?.push(spawn);
    }
  }
  return spawns;
}

/** Good configs that lead nowhere. */
async function configs(directory: string): Promise<Readonly<Record<string, unknown>>> {
  const nowhere = `https://127.0.0.1:${await freePort()}`;
  const secretFile = path.join(directory, 'secret');
  await writeFile(secretFile, 'nobody asks for it\n', { mode: 0o600 });
  return {
    aws: {
      key: 'arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab',
      endpoint: nowhere,
      auth: { method: 'files', accessKeyIdFile: secretFile, secretAccessKeyFile: secretFile },
    },
    azure: {
      vault: 'https://prod-kms.vault.azure.net',
      key: 'kms',
      algorithm: 'RSA-OAEP-256',
      auth: { method: 'managed-identity' },
    },
    gcp: {
      key: 'projects/prod-kms/locations/europe-west3/keyRings/kubernetes/cryptoKeys/kms',
      auth: { method: 'metadata-server' },
    },
    hsm: { module: path.join(directory, 'no-module.so'), token: { label: 'kms' }, key: { label: 'kms' } },
    vault: { address: nowhere, key: 'kms', auth: { method: 'token', tokenFile: secretFile } },
  };
}
