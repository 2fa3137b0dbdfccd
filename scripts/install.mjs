import { createHash } from 'node:crypto';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { root, run } from './child.mjs';

const oldestNode = [20, 19];

/**
 * Installs what a lockfile names, unless that very lockfile is what was installed last.
 *
 * @param {string} [folder] - below the clone; the clone itself when absent
 * @throws {Error} when Node is too old or npm fails
 */
export function install(folder = '.') {
  refuseOldNode();
  const directory = path.join(root, folder);
  const stamp = path.join(directory, 'node_modules', '.installed-lockfile');
  const lockfile = createHash('sha256')
    .update(readFileSync(path.join(directory, 'package-lock.json')))
    .digest('hex');
  if (isInstalled(directory, { stamp, lockfile })) return;
  console.log(folder === '.' ? 'installing packages …' : `installing packages of ${folder} …`);
  // NODE_ENV=production or omit=dev in somebody's npm config would leave the compiler out.
  const args = ['ci', '--include=dev', '--include=optional', '--no-audit', '--no-fund', '--loglevel=error'];
  if (run('npm', args, { cwd: directory }) !== 0) throw new Error(`npm ci failed in ${directory}`);
  writeFileSync(stamp, lockfile);
}

/** Whether `npm ci` of this lockfile was the last thing that npm did in `directory`. */
function isInstalled(directory, { stamp, lockfile }) {
  try {
    const npmWas = statSync(path.join(directory, 'node_modules', '.package-lock.json'));
    return readFileSync(stamp, 'utf8') === lockfile && statSync(stamp).mtimeMs >= npmWas.mtimeMs;
  } catch {
    return false;
  }
}

function refuseOldNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const [oldestMajor, oldestMinor] = oldestNode;
  if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return;
  throw new Error(`this is Node ${process.versions.node}; ${oldestNode.join('.')} or newer is needed`);
}
