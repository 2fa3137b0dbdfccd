import { defineConfig } from 'vitest/config';
import { LongestFirst } from './src/longest-first.js';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts', 'live/**/*.test.ts'],
    setupFiles: ['src/end-with-vitest.ts'],
    // The kernel ends what a worker started when the worker's main thread ends.
    pool: 'forks',
    // Each file has an API server of its own, and the machine two cores; `run.ts` says where two files may run at a time.
    maxWorkers: 1,
    sequence: { sequencer: LongestFirst },
    testTimeout: 180_000,
    hookTimeout: 180_000,
    teardownTimeout: 60_000,
  },
});
