/**
 * `node scripts/nx.mjs …`: nx of this clone without daemon and full-screen output, so that nothing stays behind and logs can be read.
 *
 * What it starts runs on the Node that runs this script, whichever comes first on PATH.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { root, run } from './child.mjs';

const nx = path.join(root, 'node_modules/.bin/nx');
if (existsSync(nx)) {
  const env = {
    ...process.env,
    NX_DAEMON: 'false',
    NX_TUI: 'false',
    PATH: `${path.dirname(process.execPath)}${path.delimiter}${process.env.PATH ?? ''}`,
  };
  process.exitCode = run(process.execPath, [nx, ...process.argv.slice(2)], { env });
} else {
  console.error('packages are not installed; run: npm ci');
  process.exitCode = 1;
}
