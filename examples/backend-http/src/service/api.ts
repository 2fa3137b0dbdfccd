import type { IncomingMessage, ServerResponse } from 'node:http';
import { z } from 'zod';
import type { Access } from './access.js';
import type { KeyStore } from './key-store.js';
import { Refusal } from './refusal.js';

const MAX_BODY_LENGTH = 64 * 1024;

const loginQuestion = z.object({ clientId: z.string(), clientSecret: z.string() });
const wrapQuestion = z.object({ plaintext: z.base64() });
const unwrapQuestion = z.object({ version: z.int(), ciphertext: z.base64() });

/**
 * What clients see:
 *
 * - `POST /v1/login {clientId, clientSecret}` → `{token, expiresInSeconds}`
 * - `GET /v1/keys/KEY` → `{version}`
 * - `POST /v1/keys/KEY/wrap {plaintext}` → `{version, ciphertext}`
 * - `POST /v1/keys/KEY/unwrap {version, ciphertext}` → `{plaintext}`
 *
 * Errors are `{error: NAME}`; bytes are base64; a token comes as `Authorization: Bearer`.
 */
export function answerClients(keys: KeyStore, access: Access) {
  return (request: IncomingMessage, response: ServerResponse): void => {
    if (access.troubles.stalled) return;
    void respond(response, async () => {
      const question = request.method === 'POST' ? await readJson(request) : undefined;
      if (request.url === '/v1/login') {
        const { clientId, clientSecret } = parse(loginQuestion, question);
        return access.login(clientId, clientSecret);
      }
      access.check(/^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '');
      const [, name = '', operation] = /^\/v1\/keys\/([a-z0-9-]+)(?:\/(\w+))?$/.exec(request.url ?? '') ?? [];
      if (operation === 'wrap') {
        const { version, ciphertext } = keys.wrap(name, bytes(parse(wrapQuestion, question).plaintext));
        return { version, ciphertext: base64(ciphertext) };
      }
      if (operation === 'unwrap') {
        const { version, ciphertext } = parse(unwrapQuestion, question);
        return { plaintext: base64(keys.unwrap(name, version, bytes(ciphertext))) };
      }
      if (operation === undefined) return { version: keys.current(name) };
      throw new Refusal(404, 'no-such-operation');
    });
  };
}

/** Sends what `work` returns, or the refusal that it throws. */
export async function respond(response: ServerResponse, work: () => Promise<unknown>): Promise<void> {
  const send = (status: number, answer: unknown, headers: Record<string, string> = {}) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(answer));
  };
  try {
    send(200, await work());
  } catch (error) {
    const { status, error: name, retryAfterSeconds } = error instanceof Refusal ? error : new Refusal(500, 'defect');
    send(status, { error: name }, retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) });
  }
}

export async function readJson(request: IncomingMessage): Promise<unknown> {
  let text = '';
  for await (const piece of request.setEncoding('utf8')) {
    text += String(piece);
    if (text.length > MAX_BODY_LENGTH) throw new Refusal(413, 'too-long');
  }
  try {
    return JSON.parse(text);
  } catch {
    throw new Refusal(400, 'no-json');
  }
}

export function parse<T>(schema: z.ZodType<T>, question: unknown): T {
  const parsed = schema.safeParse(question);
  if (!parsed.success) throw new Refusal(400, 'bad-request');
  return parsed.data;
}

function bytes(text: string): Uint8Array {
  return Buffer.from(text, 'base64');
}

function base64(raw: Uint8Array): string {
  return Buffer.from(raw).toString('base64');
}
