import type { Agent } from 'node:http';
import { BackendError, isBackendError, type Backend, type Host, type WrappedKey } from '@sealwax/core';
import { z } from 'zod';
import { ask, type Question } from './ask.js';
import type { HttpConfig } from './config.js';

const loginAnswer = z.object({ token: z.string(), expiresInSeconds: z.number() });
const keyAnswer = z.object({ version: z.int() });
const wrapAnswer = z.object({ version: z.int(), ciphertext: z.base64() });
const unwrapAnswer = z.object({ plaintext: z.base64() });

/** Wraps and unwraps with one key of the KMS. A KEK id is `http/<key>/<version>`. */
export class HttpBackend implements Backend {
  readonly #config: HttpConfig;
  readonly #host: Host;
  readonly #agent: Agent;
  readonly #closing = new AbortController();
  #login: { readonly token: string; readonly renewAtMs: number } | undefined;

  constructor(config: HttpConfig, host: Host, agent: Agent) {
    this.#config = config;
    this.#host = host;
    this.#agent = agent;
  }

  async currentKekId(signal: AbortSignal): Promise<string> {
    const { version } = await this.#ask('read the current version of', { path: '', answer: keyAnswer }, signal);
    return this.#kekId(version);
  }

  async wrap(plaintext: Uint8Array, signal: AbortSignal): Promise<WrappedKey> {
    const body = { plaintext: Buffer.from(plaintext).toString('base64') };
    // The version comes with the ciphertext: a second question could race with a rotation.
    const { version, ciphertext } = await this.#ask('wrap with', { path: '/wrap', body, answer: wrapAnswer }, signal);
    return { kekId: this.#kekId(version), ciphertext: Buffer.from(ciphertext, 'base64') };
  }

  async unwrap({ kekId, ciphertext }: WrappedKey, signal: AbortSignal): Promise<Uint8Array> {
    // The id comes from storage: whoever can write there must not choose what we ask for.
    const version = Number(kekId.split('/').at(-1));
    if (!(version >= 1 && version < 2 ** 31) || kekId !== this.#kekId(version))
      throw new BackendError('invalid-ciphertext', `http: unwrap with ${this.#config.key}: a KEK id of another key`);
    const body = { version, ciphertext: Buffer.from(ciphertext).toString('base64') };
    const { plaintext } = await this.#ask('unwrap with', { path: '/unwrap', body, answer: unwrapAnswer }, signal);
    // A copy: small Buffers share their memory.
    return Uint8Array.from(Buffer.from(plaintext, 'base64'));
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#agent.destroy();
  }

  #kekId(version: number): string {
    return `http/${this.#config.key}/${version}`;
  }

  async #ask<Answer>(
    verb: string,
    { path, ...question }: { path: string; body?: unknown; answer: z.ZodType<Answer> },
    signal: AbortSignal,
  ): Promise<Answer> {
    const url = new URL(`/v1/keys/${this.#config.key}${path}`, this.#config.address);
    const doing = `${verb} ${this.#config.key}`;
    const until = AbortSignal.any([signal, this.#closing.signal]);
    const send = (token: string) => ask({ ...question, doing, url, token }, this.#agent, until);
    const token = await this.#token(until);
    try {
      return await send(token);
    } catch (error) {
      if (!isBackendError(error) || error.code !== 'unauthenticated') throw error;
      // Revoked before its time.
      if (this.#login?.token === token) this.#login = undefined;
      return send(await this.#token(until));
    }
  }

  /** The token in use, or a new one after four fifths of its life. */
  async #token(signal: AbortSignal): Promise<string> {
    if (this.#login !== undefined && performance.now() < this.#login.renewAtMs) return this.#login.token;
    const secret = Buffer.from(await this.#host.secretFile(this.#config.clientSecretFile).read());
    const body = { clientId: this.#config.clientId, clientSecret: secret.toString('utf8').trim() };
    secret.fill(0);
    const url = new URL('/v1/login', this.#config.address);
    const login = { doing: 'log in', url, body, answer: loginAnswer };
    const { token, expiresInSeconds } = await ask(login, this.#agent, signal);
    this.#login = { token, renewAtMs: performance.now() + expiresInSeconds * 800 };
    this.#host.report({ kind: 'credential-expiry', at: new Date(Date.now() + expiresInSeconds * 1000) });
    return token;
  }
}
