/** `npm run bench -- …`: installs, builds, and measures; `--help` shows what may be chosen. */
import path from 'node:path';
import { root, run } from './child.mjs';
import { install } from './install.mjs';

install();
process.exitCode =
  run(process.execPath, [path.join(root, 'scripts/nx.mjs'), 'run-many', '-t', 'build']) ||
  run(process.execPath, [path.join(root, 'bench/dist/run.js'), ...process.argv.slice(2)]);
