import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import type { WrappedKey } from '../backend.js';
import type { Harness } from './harness.js';

const ANSWER_LIMIT_MS = 20_000;
const END_LIMIT_MS = 5_000;
const LAST_WORDS_MS = 1_000;
/** Starts the line in which the child answers: native modules may write to stdout, too. */
const ANSWER = 'sealwax-conformance ';

/** A wrapped key as it crosses between the processes. */
export interface WrappedText {
  readonly kekId: string;
  readonly ciphertext: string;
}

/** What the child is told, and what it answers, as JSON; bytes in base64. */
export interface Job {
  readonly moduleUrl: string;
  readonly config: unknown;
  readonly wrapped: WrappedText;
}
export interface Answer {
  readonly unwrapped: string;
  readonly rewrapped: WrappedText;
}

export const toText = ({ kekId, ciphertext }: WrappedKey): WrappedText => ({
  kekId,
  ciphertext: Buffer.from(ciphertext).toString('base64'),
});
export const fromText = ({ kekId, ciphertext }: WrappedText): WrappedKey => ({
  kekId,
  ciphertext: Uint8Array.from(Buffer.from(ciphertext, 'base64')),
});
export const toLine = (answer: Answer): string => `\n${ANSWER}${JSON.stringify(answer)}\n`;

/**
 * Opens the backend in a new process, unwraps `wrapped`, wraps its plaintext again, closes, and watches whether the process ends.
 *
 * @throws {AssertionError} when the child did not answer
 */
export async function inOtherProcess(
  { moduleUrl, config }: Harness,
  { wrapped }: { readonly wrapped: WrappedKey },
): Promise<{
  readonly unwrapped: Uint8Array;
  readonly rewrapped: WrappedKey;
  readonly endedByItself: boolean;
  /** What it wrote when it ended with an error after its answer; `undefined` when it ended well. */
  readonly failure: string | undefined;
}> {
  assert.ok(moduleUrl !== undefined, 'the harness has no moduleUrl');
  // The built file, also when the kit itself runs from its sources, which node cannot.
  const kit = createRequire(import.meta.url).resolve('@sealwax/core/conformance');
  const script = path.join(path.dirname(kit), 'other-process-main.js');
  const child = spawn(process.execPath, [script], { stdio: ['pipe', 'pipe', 'pipe'] });
  const job: Job = { moduleUrl: asUrl(moduleUrl), config, wrapped: toText(wrapped) };
  child.stdin.on('error', () => undefined);
  child.stdin.end(JSON.stringify(job));
  const exited = once(child, 'exit');
  const closed = once(child, 'close');
  const kill = () => {
    child.kill('SIGKILL');
  };
  let timer = setTimeout(kill, ANSWER_LIMIT_MS);
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    const answered = stdout.includes(ANSWER);
    stdout += chunk;
    if (answered || !stdout.includes(ANSWER)) return;
    clearTimeout(timer);
    timer = setTimeout(kill, END_LIMIT_MS);
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk;
  });
  await exited;
  clearTimeout(timer);
  // A process of the backend's own may still hold the pipes.
  await Promise.race([closed, sleep(LAST_WORDS_MS)]);
  child.stdout.destroy();
  child.stderr.destroy();
  const line = stdout.split('\n').find((candidate) => candidate.startsWith(ANSWER));
  assert.ok(line !== undefined, `another process could not use the backend: ${stderr}`);
  const answer = JSON.parse(line.slice(ANSWER.length)) as Answer;
  const endedByItself = child.signalCode !== 'SIGKILL';
  const endedWell = child.exitCode === 0;
  return {
    unwrapped: Uint8Array.from(Buffer.from(answer.unwrapped, 'base64')),
    rewrapped: fromText(answer.rewrapped),
    endedByItself,
    failure: endedWell || !endedByItself ? undefined : `${child.signalCode ?? ''} ${stderr}`,
  };
}

function asUrl(moduleUrl: string): string {
  return path.isAbsolute(moduleUrl) ? pathToFileURL(moduleUrl).href : moduleUrl;
}
