import { execFile } from 'node:child_process';
import { symlink } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { baoBinary } from './bao-binary.js';
import type { OpenBao } from './open-bao.js';

const execFileAsync = promisify(execFile);

/** Runs scripts with the `bao` CLI as the administrator of one node. */
export interface BaoShell {
  /** @returns stdout, without its last line's end */
  readonly run: (script: string, environment?: Readonly<Record<string, string>>) => Promise<string>;
}

/** @param directory - where scripts run */
export async function baoShell(bao: OpenBao, directory: string): Promise<BaoShell> {
  await symlink(await baoBinary(), path.join(directory, 'bao'));
  return {
    run: async (script, environment = {}) => {
      const { stdout } = await execFileAsync('bash', ['-euo', 'pipefail', '-c', script], {
        cwd: directory,
        env: {
          PATH: `${directory}:${process.env['PATH'] ?? ''}`,
          HOME: directory,
          BAO_ADDR: bao.url,
          BAO_CACERT: bao.caFile,
          BAO_TOKEN: bao.rootToken,
          ...environment,
        },
      });
      return stdout.trimEnd();
    },
  };
}
