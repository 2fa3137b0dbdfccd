import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // process.umask() is of the main thread alone.
    pool: 'forks',
    // More than there are cores: what most of these tests do is wait for a process.
    maxWorkers: 6,
    // Real processes on machines that may be busy; what is slow is not wrong.
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
