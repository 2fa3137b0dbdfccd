/**
 * `npm start`: a plugin with a key of its own on a socket of its own, asked what kube-apiserver would ask.
 *
 * It stays up until Ctrl-C; with `-- --once` it leaves after the round trip. The exit code tells whether every answer was right.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { root, runQuietly } from './child.mjs';
import { install } from './install.mjs';
import { configText, controlPlaneText } from './node-files.mjs';
import { roundTrip } from './round-trip.mjs';

const sealwax = path.join(root, 'packages/server/bin/sealwax');
const say = (line) => console.log(line);

function build() {
  say('building …');
  const nx = path.join(root, 'scripts/nx.mjs');
  const projects = '@sealwax/server,@sealwax/backend-local';
  if (runQuietly(process.execPath, [nx, 'run-many', '-t', 'build', '-p', projects]) !== 0)
    throw new Error('the build failed');
}

async function freeAddress() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return `127.0.0.1:${port}`;
}

/** Makes a key and a config file in `directory`, and starts a server with them. */
async function startServer(directory) {
  const files = {
    socketPath: path.join(directory, 'run', 'kms.sock'),
    keyFile: path.join(directory, 'keys.json'),
    config: path.join(directory, 'config.yaml'),
    log: path.join(directory, 'sealwax.log'),
  };
  const httpAddress = await freeAddress();
  if (runQuietly(sealwax, ['local', 'init', files.keyFile]) !== 0) throw new Error('no key file could be made');
  writeFileSync(files.config, configText({ cluster: 'try-out', httpAddress, ...files }), { mode: 0o600 });
  const log = openSync(files.log, 'w', 0o600);
  // A group of its own: Ctrl-C in a terminal would reach it twice, by itself and through this script, and a second signal means at once.
  const server = spawn(sealwax, ['serve', '--config', files.config], { detached: true, stdio: ['ignore', log, log] });
  closeSync(log);
  await once(server, 'spawn');
  return { server, httpAddress, ...files };
}

async function stopServer(server) {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const ended = once(server, 'exit');
  server.kill('SIGTERM');
  await ended;
}

/** Resolves when somebody wants this script to end; rejects when the server ends before. */
async function untilStopped(server) {
  await new Promise((resolve, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, resolve);
    server.once('exit', () => reject(new Error('the server ended')));
  });
}

async function main() {
  const { values } = parseArgs({ options: { once: { type: 'boolean', default: false } } });
  install();
  build();
  const directory = mkdtempSync(path.join(tmpdir(), 'sealwax-'));
  let started;
  try {
    started = await startServer(directory);
    const { server, socketPath, httpAddress, config, log } = started;
    const stopped = untilStopped(server);
    say(`\nSealwax serves on ${socketPath}, with a key made for this trial.\n`);
    await Promise.race([roundTrip(socketPath, say), stopped]);
    say(`\n${controlPlaneText()}`);
    if (values.once) return;
    say(`Still serving; Ctrl-C ends it and removes ${directory}\n`);
    say(`    config   ${config}`);
    say(`    log      ${log}`);
    say(`    health   http://${httpAddress}/readyz?verbose`);
    say(`    metrics  http://${httpAddress}/metrics`);
    await stopped;
  } catch (error) {
    if (started !== undefined) console.error(readFileSync(started.log, 'utf8').split('\n').slice(-20).join('\n'));
    throw error;
  } finally {
    if (started !== undefined) await stopServer(started.server);
    rmSync(directory, { recursive: true, force: true });
  }
}

try {
  await main();
} catch (error) {
  console.error(`npm start: ${error.message}`);
  process.exitCode = 1;
}
