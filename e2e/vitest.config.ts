import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    setupFiles: ['src/end-with-vitest.ts'],
    // The kernel ends what a worker started when the worker's main thread ends.
    pool: 'forks',
    // Each file has an API server of its own, and the machine two cores.
    fileParallelism: false,
    testTimeout: 180_000,
    hookTimeout: 180_000,
    teardownTimeout: 60_000,
  },
});
