import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { cached } from './cache.js';
import { announced } from './go.js';

const execFileAsync = promisify(execFile);
const version = '0.9.10-2.1';
/** Of the package for amd64, which CI runs on; another machine's is trusted as apt is. */
const sha256 = 'b09481e7690680966005330c3f907bba4b5eefc35e1faaea4783cc55655d1150';

/** A wall clock that jumps, for one process; its monotonic clock runs on, as in a machine whose clock is set. */
export class FakeClock {
  /** For the process that is to have this clock. */
  readonly environment: Readonly<Record<string, string>>;
  readonly #file: string;

  private constructor(file: string, library: string) {
    this.#file = file;
    this.environment = {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: '1',
      DONT_FAKE_MONOTONIC: '1',
    };
  }

  /** @param file - does not exist yet; holds the offset */
  static async make(file: string): Promise<FakeClock> {
    const clock = new FakeClock(file, await libfaketime());
    await clock.jump('+0');
    return clock;
  }

  /** @param offset - from the true time, such as `+1d` or `-1d` */
  async jump(offset: string): Promise<void> {
    await writeFile(this.#file, `${offset}\n`);
  }
}

/** The library of Debian's package `libfaketime`; downloaded when it is not in the cache, never installed. */
async function libfaketime(): Promise<string> {
  return cached({
    name: 'libfaketime.so',
    inputs: [version, sha256],
    make: (target, workspace) =>
      announced('downloading libfaketime from Debian', async () => {
        // With root, apt would download as a user of its own, who cannot write here.
        const sandbox = ['-o', 'APT::Sandbox::User=root'];
        await execFileAsync('apt-get', [...sandbox, '-q', 'download', `libfaketime=${version}`], { cwd: workspace });
        const [file = ''] = (await readdir(workspace)).filter((name) => name.endsWith('.deb'));
        const deb = path.join(workspace, file);
        const found = createHash('sha256')
          .update(await readFile(deb))
          .digest('hex');
        if (process.arch === 'x64' && found !== sha256) throw new Error(`${file}: sha256 ${found}, not ${sha256}`);
        const tree = path.join(workspace, 'tree');
        await mkdir(tree);
        await execFileAsync('dpkg', ['-x', deb, tree]);
        const multiarch = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
        await copyFile(path.join(tree, 'usr/lib', multiarch, 'faketime/libfaketimeMT.so.1'), target);
      }),
  });
}
