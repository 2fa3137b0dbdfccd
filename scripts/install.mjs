import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { root, run } from './child.mjs';

const oldestNode = [20, 19];
const libcHere = process.report.getReport().header.glibcVersionRuntime === undefined ? 'musl' : 'glibc';

/**
 * Installs what the lockfile names, unless that is what npm installed last.
 *
 * @param {string} [folder] - below the clone; the clone itself when absent
 * @throws {Error} when Node is too old or npm fails
 */
export function install(folder = '.') {
  refuseOldNode();
  const directory = path.join(root, folder);
  if (isInstalled(directory)) return;
  console.log(folder === '.' ? 'installing packages …' : `installing packages of ${folder} …`);
  // NODE_ENV=production or omit=dev in somebody's npm config would leave the compiler out.
  const args = ['ci', '--include=dev', '--include=optional', '--no-audit', '--no-fund', '--loglevel=error'];
  if (run('npm', args, { cwd: directory, env: { ...process.env, ...headersOfThisNode() } }) !== 0)
    throw new Error(`npm ci failed in ${directory}`);
}

/** Where the headers of this Node lie, if they came with it: node-gyp, which builds pkcs11js, would download them. */
function headersOfThisNode() {
  const prefix = path.resolve(process.execPath, '../..');
  return existsSync(path.join(prefix, 'include/node/node_api.h')) ? { npm_config_nodedir: prefix } : {};
}

/** Compares the lockfile with the copy that npm keeps of what it installed; it writes that last. */
function isInstalled(directory) {
  const packagesIn = (file) => JSON.parse(readFileSync(path.join(directory, file), 'utf8')).packages;
  const wanted = packagesIn('package-lock.json');
  let installed;
  try {
    installed = packagesIn('node_modules/.package-lock.json');
  } catch {
    return false;
  }
  return Object.entries(wanted).every(([name, entry]) => {
    if (name === '') return true;
    const found = installed[name];
    if (found !== undefined) return found.version === entry.version && found.integrity === entry.integrity;
    // What is optional may be missing: another platform's, or what could not be built here.
    return entry.optional === true && !isForThisPlatform(entry);
  });
}

/** Whether a package says that it is for this platform; most say nothing. */
function isForThisPlatform({ os, cpu, libc }) {
  if (os === undefined && cpu === undefined) return false;
  const includes = (allowed, value) => allowed === undefined || [allowed].flat().includes(value);
  return includes(os, process.platform) && includes(cpu, process.arch) && includes(libc, libcHere);
}

function refuseOldNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const [oldestMajor, oldestMinor] = oldestNode;
  if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return;
  throw new Error(`this is Node ${process.versions.node}; ${oldestNode.join('.')} or newer is needed`);
}
