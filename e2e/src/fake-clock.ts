import { writeFile } from 'node:fs/promises';
import { DebianTree } from './debian.js';

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
    const clock = new FakeClock(file, (await DebianTree.get('faketime')).library('faketime/libfaketimeMT.so.1'));
    await clock.jump('+0');
    return clock;
  }

  /** @param offset - from the true time, such as `+1d` or `-1d` */
  async jump(offset: string): Promise<void> {
    await writeFile(this.#file, `${offset}\n`);
  }
}
