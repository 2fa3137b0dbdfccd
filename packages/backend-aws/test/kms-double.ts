import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { onTestFinished } from 'vitest';

export const KEY_ARN = 'arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab';
export const MATERIAL = 'a'.repeat(64);
export const OTHER_MATERIAL = 'b'.repeat(64);

/** A request as it arrived. */
export interface Asked {
  /** `Encrypt`, `Decrypt`, `DescribeKey`; empty for STS. */
  readonly operation: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** What to answer: JSON with a status, an exception by its name, or a broken connection. */
export type Answer =
  | { readonly status?: number; readonly headers?: Record<string, string>; readonly json: unknown }
  | {
      readonly status?: number;
      readonly exception: string;
      readonly message?: string;
      readonly headers?: Record<string, string>;
    }
  | { readonly status: number; readonly text: string }
  | 'reset'
  | 'nothing';

/** A server on loopback that answers in the form of AWS JSON 1.1, as the model of KMS has it. */
export class KmsDouble {
  readonly url: string;
  readonly asked: Asked[] = [];
  #answer: (asked: Asked, count: number) => Answer;

  private constructor(server: Server, answer: (asked: Asked, count: number) => Answer) {
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    this.url = `http://127.0.0.1:${address.port}`;
    this.#answer = answer;
  }

  static async start(answer: (asked: Asked, count: number) => Answer = good): Promise<KmsDouble> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => {
      server.close();
      server.closeAllConnections();
    });
    const double = new KmsDouble(server, answer);
    server.on('request', (request, response) => void double.#serve(request, response));
    return double;
  }

  answerWith(answer: (asked: Asked, count: number) => Answer): void {
    this.#answer = answer;
    this.asked.length = 0;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = (await buffer(request)).toString('utf8');
    const operation = String(request.headers['x-amz-target'] ?? '').replace(/^TrentService\./, '');
    const asked = { operation, headers: request.headers, body };
    this.asked.push(asked);
    const answer = this.#answer(asked, this.asked.length);
    if (answer === 'nothing') return;
    if (answer === 'reset') {
      request.socket.resetAndDestroy();
      return;
    }
    if ('text' in answer) {
      response.writeHead(answer.status, { 'content-type': 'text/html' }).end(answer.text);
      return;
    }
    const json = 'exception' in answer ? { __type: answer.exception, message: answer.message ?? '' } : answer.json;
    response
      .writeHead(answer.status ?? ('exception' in answer ? 400 : 200), {
        'content-type': 'application/x-amz-json-1.1',
        ...answer.headers,
      })
      .end(JSON.stringify(json));
  }
}

/** As KMS answers when all is well, the material included. The "ciphertext" is the request's plaintext: nothing here is encrypted. */
export function good(asked: Asked): Answer {
  const request = JSON.parse(asked.body) as { readonly Plaintext?: string; readonly CiphertextBlob?: string };
  switch (asked.operation) {
    case 'DescribeKey':
      return { json: { KeyMetadata: metadata() } };
    case 'Encrypt':
      return { json: { KeyId: KEY_ARN, CiphertextBlob: request.Plaintext, EncryptionAlgorithm: 'SYMMETRIC_DEFAULT' } };
    default:
      return { json: { KeyId: KEY_ARN, Plaintext: request.CiphertextBlob, KeyMaterialId: MATERIAL } };
  }
}

export function metadata(changes: Readonly<Record<string, unknown>> = {}): Readonly<Record<string, unknown>> {
  return {
    Arn: KEY_ARN,
    KeyId: '1234abcd-12ab-34cd-56ef-1234567890ab',
    KeyState: 'Enabled',
    KeySpec: 'SYMMETRIC_DEFAULT',
    CurrentKeyMaterialId: MATERIAL,
    ...changes,
  };
}
