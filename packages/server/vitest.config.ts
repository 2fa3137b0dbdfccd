import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // process.umask() is of the main thread alone.
    pool: 'forks',
    // Real processes on machines that may be busy; what is slow is not wrong.
    testTimeout: 30_000,
    hookTimeout: 30_000,
  },
});
