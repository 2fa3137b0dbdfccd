import { execFile } from 'node:child_process';
import { cp, readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { freePort } from '../../src/free-port.js';
import { installedPackages } from '../../src/packed-packages.js';
import { testDirectory } from '../../src/test-directory.js';

const execFileAsync = promisify(execFile);
const readme = path.resolve(import.meta.dirname, '../../../examples/backend-http/README.md');

test('the commands of the example’s README do what it says', async () => {
  const directory = path.join(await testDirectory('readme'), 'copy');
  const { exampleDirectory } = await installedPackages();
  await cp(exampleDirectory, directory, { recursive: true, verbatimSymlinks: true });
  const ports = { client: await freePort(), admin: await freePort() };
  const fences = [...(await readFile(readme, 'utf8')).matchAll(/^```sh\n(.*?)^```$/gms)].map(([, text = '']) => text);
  const [setUp = '', ...others] = fences;
  expect(others).toHaveLength(2);
  const text = [setUp, ...others]
    .join(`until curl -sS http://127.0.0.1:8444/ >/dev/null 2>&1; do sleep 0.1; done\n`)
    // The installation was made from tarballs: our packages are not published while their tests run.
    .replace('npm install\n', '')
    .replace('main.js &', 'main.js --port 8443 --admin-port 8444 &')
    .replaceAll('8443', String(ports.client))
    .replaceAll('8444', String(ports.admin));
  const script = `set -euo pipefail\ntrap 'kill $(jobs -p)' EXIT\n${text}`;
  const { stdout } = await execFileAsync('bash', ['-c', script], { cwd: directory });
  expect(stdout).toMatch(
    /key prod \(write, \S+ by @example\/sealwax-backend-http 1\.0\.0\): ok: wraps and unwraps with http\/kms\/1/,
  );
  expect(stdout).toMatch(/key prod \(write, .*\): FAILED: key-disabled: http: .* key disabled/);
});
