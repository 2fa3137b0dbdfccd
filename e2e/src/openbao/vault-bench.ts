import { setMaxListeners } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { backend } from '@sealwax/backend-vault';
import { isBackendError, type BackendError } from '@sealwax/core';
import { openBackend, type OpenedBackend } from '@sealwax/core/conformance';
import { onTestFinished } from 'vitest';
import { testDirectory } from '../test-directory.js';
import type { BaoClient } from './bao-client.js';
import { OpenBao, type OpenBaoOptions } from './open-bao.js';
import { TransitKey } from './transit-key.js';

export type VaultSection = Readonly<Record<string, unknown>>;

/** Every right on every transit key that an unwary owner may give, `create` included. */
export const everything = 'path "transit/*" { capabilities = ["create", "update", "read", "list", "delete"] }';

/** One OpenBao for a file of tests, and what they need around it: keys, tokens, secret files, opened backends. */
export class VaultBench {
  readonly bao: OpenBao;
  readonly directory: string;
  #count = 0;

  private constructor(bao: OpenBao, directory: string) {
    this.bao = bao;
    this.directory = directory;
  }

  /** @param name - of its directory, unique within the group */
  static async start(name: string, options: OpenBaoOptions = {}): Promise<VaultBench> {
    const directory = await testDirectory(name);
    const bao = await OpenBao.start(path.join(directory, 'openbao'), options);
    await bao.root.post('sys/mounts/transit', { type: 'transit' });
    return new VaultBench(bao, directory);
  }

  get root(): BaoClient {
    return this.bao.root;
  }

  async stop(): Promise<void> {
    await this.bao.stop();
  }

  /** A name that nothing has yet. */
  name(kind: string): string {
    this.#count += 1;
    return `${kind}-${this.#count}`;
  }

  /** A new transit key. */
  async key(options: VaultSection = {}): Promise<{ readonly name: string; readonly key: TransitKey }> {
    const name = this.name('key');
    return { name, key: await TransitKey.create(this.root, name, options) };
  }

  async secretFile(content: string, file = path.join(this.directory, this.name('secret'))): Promise<string> {
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, `${content}\n`, { mode: 0o600 });
    return file;
  }

  /** The name of a new policy. */
  async policy(text: string): Promise<string> {
    const name = this.name('policy');
    await this.root.post(`sys/policies/acl/${name}`, { policy: text });
    return name;
  }

  /** A new token that may do what `policy` says, besides living. */
  async token(policy: string, options: VaultSection = {}): Promise<string> {
    const policies = [await this.policy(policy)];
    const { auth } = (await this.root.post('auth/token/create', { policies, ...options })) as {
      auth: { client_token: string };
    };
    return auth.client_token;
  }

  /** A config section with a token that may do what `policy` says. */
  async config(
    key: string,
    { policy = everything, ...change }: VaultSection & { readonly policy?: string } = {},
  ): Promise<VaultSection> {
    return {
      ...this.connection,
      key,
      auth: { method: 'token', tokenFile: await this.secretFile(await this.token(policy)) },
      ...change,
    };
  }

  /** The part of a config section that leads here. */
  get connection(): { readonly address: string; readonly caFile: string } {
    return { address: this.bao.url, caFile: this.bao.caFile };
  }

  /** Opens a backend and ends it with the test. */
  async open(config: VaultSection): Promise<OpenedBackend> {
    const opened = await openBackend({ module: backend, config });
    onTestFinished(() => opened.end());
    return opened;
  }

  /** Opens a backend and makes its first request, which logs in. */
  async firstCall(config: VaultSection): Promise<string> {
    const { backend: opened } = await this.open(config);
    return opened.currentKekId(never);
  }
}

/** The signal of a call that nobody gives up. */
export const never: AbortSignal = new AbortController().signal;
// Each call in flight listens to it.
setMaxListeners(0, never);

/** The error with which `attempt` fails; anything but a BackendError is a failure of the test. */
export async function failureOf(attempt: Promise<unknown>): Promise<BackendError> {
  const outcome = await attempt.then(
    () => new Error('it succeeded'),
    (error: unknown) => error,
  );
  if (isBackendError(outcome)) return outcome;
  throw outcome instanceof Error ? outcome : new Error(String(outcome));
}

/** The errors of calls that are under way at once, each of which fails. */
export async function failuresOf(attempts: readonly Promise<unknown>[]): Promise<readonly BackendError[]> {
  return Promise.all(attempts.map(failureOf));
}
