import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readFile, symlink } from 'node:fs/promises';
import path from 'node:path';
import { text } from 'node:stream/consumers';

/** A fenced block of a page. */
export interface Fence {
  /** Where its first line stands in the page, counted from 1. */
  readonly line: number;
  readonly content: string;
}

/** How the commands of a page are run. */
export interface DocCommandsOptions {
  /** Where they start, and HOME; empty at first. */
  readonly directory: string;
  /** Added to the environment, which otherwise holds PATH and HOME alone. A PATH given here comes before the machine's. */
  readonly environment?: Readonly<Record<string, string>>;
  /** For the whole page; two minutes when absent. */
  readonly timeoutMs?: number;
  /** The info string of the fences that are run; `sh test` when absent. */
  readonly info?: string;
}

/** The command under test; the same one that `Sealwax` starts. */
const sealwaxCommand =
  process.env['SEALWAX_BIN'] ?? path.resolve(import.meta.dirname, '../../packages/server/bin/sealwax');

/** The fences of a Markdown page that carry exactly this info string. */
export function fences(markdown: string, info: string): readonly Fence[] {
  const found: Fence[] = [];
  let open:
    { readonly fence: string; readonly info: string; readonly line: number; readonly lines: string[] } | undefined;
  for (const [index, line] of markdown.split('\n').entries()) {
    if (open === undefined) {
      const [, fence, label = ''] = /^(`{3,})([^`]*)$/.exec(line) ?? [];
      if (fence !== undefined) open = { fence, info: label.trim(), line: index + 2, lines: [] };
    } else if (line.trimEnd() === open.fence) {
      if (open.info === info) found.push({ line: open.line, content: `${open.lines.join('\n')}\n` });
      open = undefined;
    } else {
      open.lines.push(line);
    }
  }
  return found;
}

/**
 * Runs the commands of a page as they stand, with `sealwax` on PATH, all in one bash that ends at the first command that fails: whoever
 * pastes one block after another has one shell, too. What they leave running is ended.
 *
 * @returns what each block printed
 * @throws when a block fails, with its place in the page and what it printed; also when there is none, because then nothing was proved
 */
export async function runDocCommands(page: string, options: DocCommandsOptions): Promise<readonly string[]> {
  const { directory, environment = {}, timeoutMs = 120_000, info = 'sh test' } = options;
  const blocks = fences(await readFile(page, 'utf8'), info);
  if (blocks.length === 0) throw new Error(`${page} has no block marked ${info}`);
  const bin = path.join(directory, '.bin');
  await mkdir(bin, { recursive: true });
  await symlink(sealwaxCommand, path.join(bin, 'sealwax'));
  const env = {
    ...environment,
    HOME: directory,
    PATH: [bin, environment['PATH'], process.env['PATH']].filter((part) => part !== undefined).join(path.delimiter),
  };
  const border = `--- ${randomUUID()} ---`;
  const script = blocks.map(({ content }) => `${content}printf '%s\\n' '${border}'\n`).join('');
  const { code, output } = await bash(script, { cwd: directory, env, timeoutMs });
  const outputs = output.split(`${border}\n`);
  const failed = blocks[outputs.length - 1];
  if (code === 0 && failed === undefined) return outputs.slice(0, -1);
  throw new Error(
    `${page}:${failed?.line ?? 0} ended with ${code ?? 'a signal'}:\n${failed?.content ?? ''}\n${outputs.at(-1) ?? ''}`,
  );
}

async function bash(
  script: string,
  options: { readonly cwd: string; readonly env: NodeJS.ProcessEnv; readonly timeoutMs: number },
): Promise<{ readonly code: number | null; readonly output: string }> {
  const { cwd, env, timeoutMs } = options;
  // Both outputs in the order in which they are written; a group of its own, to be ended as a whole.
  const child = spawn('bash', ['-euo', 'pipefail', '-c', `exec 2>&1\n${script}`], {
    cwd,
    env,
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const endGroup = (): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    } catch {
      // Nobody is left in it.
    }
  };
  const timer = setTimeout(endGroup, timeoutMs);
  const output = text(child.stdout);
  const [code] = (await once(child, 'exit')) as [number | null];
  clearTimeout(timer);
  endGroup();
  return { code, output: await output };
}
