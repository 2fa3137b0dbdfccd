/** `npm run e2e -- …`: installs, builds, and runs the end-to-end tests; `--help` shows what may be chosen. */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { root, run } from './child.mjs';
import { install } from './install.mjs';

install();
if (run(process.execPath, [path.join(root, 'scripts/nx.mjs'), 'run-many', '-t', 'build']) !== 0) {
  console.log('FAILED: npm run e2e: build\n0 passed, 1 failed');
  process.exit(1);
}
const suite = spawn(process.execPath, [path.join(root, 'e2e/dist/run.js'), ...process.argv.slice(2)], {
  cwd: root,
  stdio: ['ignore', 'inherit', 'inherit'],
});
// A terminal's Ctrl-C reaches the suite by itself; what is sent to this process alone does not.
process.on('SIGINT', () => undefined);
process.on('SIGTERM', () => suite.kill('SIGTERM'));
suite.on('exit', (code) => {
  process.exitCode = code ?? 1;
});
