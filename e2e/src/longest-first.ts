import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Files that mostly wait, or work for long. */
const longest = ['late-plugin.test.ts', 'outage.test.ts', 'many-local-keys.test.ts'];

/** Starts what takes longest first, so that the others run beside it. Vitest knows durations only where it has run before. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const waits = ({ moduleId }: TestSpecification): boolean => longest.some((name) => moduleId.endsWith(`/${name}`));
    return [...sorted.filter(waits), ...sorted.filter((file) => !waits(file))];
  }
}
