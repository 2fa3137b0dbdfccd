import { once } from 'node:events';
import type { Agent, IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { BackendError } from '@sealwax/core';
import type { z } from 'zod';
import { refused } from './errors.js';

const MAX_ANSWER_LENGTH = 64 * 1024;

export interface Question<Answer> {
  /** For messages: `wrap with kms`. */
  readonly doing: string;
  readonly url: URL;
  readonly token?: string;
  readonly body?: unknown;
  readonly answer: z.ZodType<Answer>;
}

/** @throws {BackendError} for everything but a good answer */
export async function ask<Answer>(question: Question<Answer>, agent: Agent, signal: AbortSignal): Promise<Answer> {
  const { doing, url, token, body, answer } = question;
  const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) };
  let text = '';
  let response: IncomingMessage;
  try {
    const outgoing = request(url, { agent, headers, signal, method: body === undefined ? 'GET' : 'POST' });
    // Whatever happens after the head is an error of the response as well.
    outgoing.on('error', () => undefined).end(body && JSON.stringify(body));
    [response] = (await once(outgoing, 'response')) as [IncomingMessage];
    for await (const piece of response.setEncoding('utf8'))
      if ((text += String(piece)).length > MAX_ANSWER_LENGTH) throw new Error('the answer is too long');
  } catch (cause) {
    // A socket's error names an address and no secret.
    const reason = cause instanceof Error ? cause.message : 'no answer';
    throw new BackendError('unavailable', `http: ${doing}: ${reason}`, { cause });
  }
  const json = parse(text);
  if ((response.statusCode ?? 0) >= 300) throw refused(doing, response, json['error']);
  const parsed = answer.safeParse(json);
  if (!parsed.success) throw new BackendError('internal', `http: ${doing}: no answer of this KMS`);
  return parsed.data;
}

function parse(text: string): Readonly<Record<string, unknown>> {
  try {
    return Object(JSON.parse(text)) as Readonly<Record<string, unknown>>;
  } catch {
    return {};
  }
}
