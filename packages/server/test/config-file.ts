import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { stringify } from 'yaml';
import { sealwax } from './command-line.js';
import { freePort } from './free-port.js';

/** The sections of a config file that a test may set; the rest is as an operator would have it, with short periods. */
export interface ConfigSections {
  readonly socket?: object;
  readonly http?: object;
  readonly log?: object;
  readonly limits?: object;
  readonly publish?: object;
  readonly probe?: object;
  readonly refusal?: object;
  readonly traces?: object;
}

/** A config file for the local backend, its socket and its ports, in a directory of its own. */
export interface ConfigFile {
  readonly file: string;
  readonly keyFile: string;
  readonly socketPath: string;
  readonly httpAddress: string;
}

/** Writes a config file whose key file does not exist yet. */
export async function writeConfig(directory: string, sections: ConfigSections = {}): Promise<ConfigFile> {
  const file = path.join(directory, 'config.yaml');
  const keyFile = path.join(directory, 'keys.json');
  const socketPath = path.join(directory, 'run', 'kms.sock');
  const httpAddress = `127.0.0.1:${await freePort()}`;
  const config = {
    version: 1,
    cluster: 'test-1',
    ...sections,
    socket: { path: socketPath, ...sections.socket },
    http: { address: httpAddress, ...sections.http },
    probe: { intervalSeconds: 1, ...sections.probe },
    publish: { quietSeconds: 0.1, latestSeconds: 1, ...sections.publish },
    keys: [{ name: 'prod', backend: 'local', config: { path: keyFile } }],
  };
  await writeFile(file, stringify(config), { mode: 0o600 });
  return { file, keyFile, socketPath, httpAddress };
}

let firstKeyFile: Promise<Buffer> | undefined;

/** Makes the key file that the config names. The first of a test file is made as an operator would, the others are copies of it. */
export async function makeKeyFile({ keyFile }: ConfigFile): Promise<void> {
  firstKeyFile ??= init();
  // In one step, for a plugin that waits for it would else read an empty file.
  await writeFile(`${keyFile}.new`, await firstKeyFile, { mode: 0o600 });
  await rename(`${keyFile}.new`, keyFile);
}

async function init(): Promise<Buffer> {
  const directory = await mkdtemp(path.join(tmpdir(), 'sealwax-server-'));
  try {
    const keyFile = path.join(directory, 'keys.json');
    const { code, err } = await sealwax(['local', 'init', keyFile]);
    if (code !== 0) throw new Error(err);
    return await readFile(keyFile);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
