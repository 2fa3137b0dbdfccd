import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { BackendError, type Backend, type BackendErrorCode, type Host, type WrappedKey } from '@sealwax/core';
import type { Refusal, Request, Response } from './little-kms.js';

export interface LittleConfig {
  readonly socket: string;
  readonly tokenFile: string;
  /** The flaw that this backend has, for tests of the kit; none makes it a good one. */
  readonly flaw?: string;
}

const CODES: Readonly<Record<Refusal, BackendErrorCode>> = {
  'bad token': 'unauthenticated',
  busy: 'throttled',
  denied: 'permission-denied',
  disabled: 'key-disabled',
  'no such key': 'key-not-found',
  'no such version': 'key-not-found',
  'bad ciphertext': 'invalid-ciphertext',
};

export type Question = Omit<Request, 'token'>;

/** The backend of `LittleKms`, as a vendor would write it: a connection for each call, nothing kept. */
export class LittleBackend implements Backend {
  readonly #config: LittleConfig;
  readonly #host: Host;
  #closed = false;

  constructor(config: LittleConfig, host: Host) {
    this.#config = config;
    this.#host = host;
  }

  async currentKekId(signal: AbortSignal): Promise<string> {
    const { version } = await this.ask('read the current version', { operation: 'current' }, signal);
    return kekIdOf(version);
  }

  async wrap(plaintext: Uint8Array, signal: AbortSignal): Promise<WrappedKey> {
    const { version, bytes } = await this.ask('wrap', { operation: 'wrap', bytes: toBase64(plaintext) }, signal);
    return { kekId: kekIdOf(version), ciphertext: bytes };
  }

  async unwrap({ kekId, ciphertext }: WrappedKey, signal: AbortSignal): Promise<Uint8Array> {
    const version = /^little\/kek\/(v\d{1,9})$/.exec(kekId)?.[1];
    if (version === undefined || kekIdOf(version) !== kekId)
      throw new BackendError('invalid-ciphertext', 'little: unwrap: the KEK id is not one of this key');
    const question: Question = { operation: 'unwrap', version, bytes: toBase64(ciphertext) };
    return (await this.ask('unwrap', question, signal)).bytes;
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  async ask(
    doing: string,
    question: Question,
    signal: AbortSignal,
  ): Promise<{ readonly version: string; readonly bytes: Uint8Array }> {
    signal.throwIfAborted();
    if (this.#closed) throw new BackendError('internal', `little: ${doing}: the backend is closed`);
    const token = Buffer.from(await this.#host.secretFile(this.#config.tokenFile).read()).toString('utf8');
    const answer = await this.#exchange(doing, { ...question, token }, signal);
    if ('refusal' in answer) {
      const { refusal, retryAfterMs } = answer;
      throw new BackendError(CODES[refusal], `little: ${doing}: ${refusal}`, retryAfterMs ? { retryAfterMs } : {});
    }
    if ('status' in answer)
      throw new BackendError('internal', `little: ${doing}: no answer of this KMS`, { cause: answer });
    return { version: answer.version, bytes: Uint8Array.from(Buffer.from(answer.bytes, 'base64')) };
  }

  async #exchange(doing: string, request: Request, signal: AbortSignal): Promise<Response> {
    const socket = connect({ path: this.#config.socket, signal });
    try {
      socket.end(JSON.stringify(request));
      return JSON.parse(await text(socket)) as Response;
    } catch (cause) {
      const why = signal.aborted ? 'gave up' : 'no answer';
      throw new BackendError('unavailable', `little: ${doing}: ${why}`, { cause });
    } finally {
      socket.destroy();
    }
  }
}

export const kekIdOf = (version: string): string => `little/kek/${version}`;

export const toBase64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
