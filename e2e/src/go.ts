import { spawn } from 'node:child_process';
import path from 'node:path';

/** Where the sources of the programs lie that the suite builds. */
export const counterparts = path.resolve(import.meta.dirname, '../counterparts');

/**
 * Runs the go command and returns what it printed on stdout; stderr (downloads, compiler errors) goes into the error only.
 *
 * @throws when go is missing or fails
 */
export async function go(args: readonly string[], cwd: string): Promise<string> {
  const child = spawn('go', args, {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
    // Static binaries, as the projects release them: no C compiler needed. A workspace file above the clone must not take part.
    env: { ...process.env, CGO_ENABLED: '0', GOWORK: 'off', GOFLAGS: '' },
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', (error) => {
      reject(new Error(`cannot run go, which builds etcd and kube-apiserver (Go 1.26 or newer): ${error.message}`));
    });
    child.once('close', resolve);
  });
  if (code !== 0)
    throw new Error(`go ${args.join(' ')} in ${cwd} ended with ${code}:\n${Buffer.concat(stderr).toString()}`);
  return Buffer.concat(stdout).toString();
}

/** Arguments of `go build` that every counterpart is built with. */
export const buildArguments = ['build', '-buildvcs=false', '-trimpath'] as const;

/** Says what is about to take minutes, and how long it took. */
export async function announced<T>(what: string, work: () => Promise<T>): Promise<T> {
  const startedAt = Date.now();
  console.log(`${what}: once, then it is cached …`);
  const made = await work();
  console.log(`${what}: ${Math.round((Date.now() - startedAt) / 1000)} s`);
  return made;
}
