#!/usr/bin/env node
import { readFile } from 'node:fs/promises';
import { Command } from 'commander';
import { CallFailed, ModuleProcess, ProcessEnded } from './module-process.js';
import type { ListedToken } from './protocol.js';

const TIMEOUT_MS = 30_000;

interface ListOptions {
  readonly module: string;
  readonly parameters?: string;
  readonly env: readonly string[];
  readonly token?: string;
  readonly pinFile?: string;
}

/** `sealwax-hsm`, which `sealwax hsm` runs. */
const program = new Command('sealwax hsm').description('Tokens, mechanisms and keys of PKCS #11 modules');

program
  .command('list')
  .description('show what a module offers, and which of its keys would serve')
  .requiredOption('--module <file>', 'absolute path of the PKCS #11 module')
  .option('--parameters <text>', 'library parameters for C_Initialize, which NSS needs')
  .option('--env <name=value...>', 'what stands in the environment of the module, for instance SOFTHSM2_CONF=/path', [])
  .option('--token <label>', 'log in to this token; most tokens show no keys without a login')
  .option('--pin-file <file>', 'file with the PIN; it is tried once')
  .action(async (options: ListOptions) => {
    for (const token of await list(options)) print(token);
  });

async function list({ module, parameters, env, token, pinFile }: ListOptions): Promise<ListedToken[]> {
  if ((token === undefined) !== (pinFile === undefined)) throw new Error('--token and --pin-file go together');
  const process = ModuleProcess.start({
    environment: Object.fromEntries(env.map(nameAndValue)),
    output: 'stderr',
    callTimeoutMs: TIMEOUT_MS,
    onPin: async () => ({ answer: { pin: 'given' }, pin: await readPin(pinFile) }),
    onTold: () => undefined,
    onResidentSize: () => undefined,
  });
  try {
    const { value } = await process.call({
      call: 'list',
      module: { path: module, parameters: parameters },
      login: token,
    });
    if (typeof value !== 'object' || value === null) throw new Error('the module’s process sent no list');
    return value.tokens;
  } finally {
    process.end('was closed');
  }
}

function nameAndValue(text: string): [string, string] {
  const equals = text.indexOf('=');
  if (equals < 1) throw new Error(`--env ${text}: must be NAME=VALUE`);
  return [text.slice(0, equals), text.slice(equals + 1)];
}

async function readPin(path: string | undefined): Promise<Uint8Array> {
  const text = path === undefined ? '' : await readFile(path, 'utf8');
  return Buffer.from(text.replace(/[\r\n]+$/, ''));
}

function print({ label, serial, model, mechanisms, loggedIn, keys }: ListedToken): void {
  console.log(`token ${label}  serial ${serial}  model ${model}`);
  console.log(`  mechanisms: ${mechanisms.length === 0 ? 'none that would serve' : mechanisms.join(', ')}`);
  if (!loggedIn) console.log('  keys: log in to see them, with --token and --pin-file');
  else if (keys.length === 0) console.log('  keys: none');
  for (const key of keys) {
    const serves = key.serves.length === 0 ? 'serves no mechanism' : `serves ${key.serves.join(', ')}`;
    const warning = key.extractable ? '; extractable' : '';
    console.log(`  key ${key.label}  id ${key.id === '' ? '(none)' : key.id}  ${key.type}  ${serves}${warning}`);
  }
}

try {
  await program.parseAsync();
} catch (error) {
  const text =
    error instanceof CallFailed
      ? `${error.failure.reason}${error.failure.cause === undefined ? '' : ` (${error.failure.cause})`}`
      : error instanceof ProcessEnded
        ? `the module’s process ${error.message}`
        : error instanceof Error
          ? error.message
          : String(error);
  console.error(`sealwax hsm: ${text}`);
  process.exitCode = 1;
}
