import { z } from 'zod';

/** A key and its raw value. */
export interface Stored {
  readonly key: string;
  readonly value: Uint8Array;
}

const base64 = z.string().transform((text) => new Uint8Array(Buffer.from(text, 'base64')));
const rangeAnswer = z.object({
  kvs: z.array(z.object({ key: base64, value: base64.default(new Uint8Array()) })).default([]),
});

/** Reads and writes raw values through etcd's JSON gateway, behind the API server's back. */
export class EtcdClient {
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  /** @throws when there is no such key */
  async get(key: string): Promise<Uint8Array> {
    const [found] = await this.#range({ key: encode(key) });
    if (found === undefined) throw new Error(`etcd holds no ${key}`);
    return found.value;
  }

  async list(prefix: string): Promise<Stored[]> {
    const last = Buffer.from(prefix);
    const lastByte = last.at(-1);
    if (lastByte === undefined || lastByte === 0xff) throw new RangeError('a prefix ends in a byte below 0xff');
    last[last.length - 1] = lastByte + 1;
    return this.#range({ key: encode(prefix), range_end: last.toString('base64') });
  }

  async put(key: string, value: Uint8Array): Promise<void> {
    await this.#post('put', { key: encode(key), value: Buffer.from(value).toString('base64') });
  }

  async #range(request: Record<string, string>): Promise<Stored[]> {
    const { kvs } = rangeAnswer.parse(await this.#post('range', request));
    return kvs.map(({ key, value }) => ({ key: Buffer.from(key).toString(), value }));
  }

  async #post(operation: string, request: Record<string, string>): Promise<unknown> {
    const answer = await fetch(`${this.#url}/v3/kv/${operation}`, { method: 'POST', body: JSON.stringify(request) });
    if (!answer.ok) throw new Error(`etcd ${operation}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }
}

function encode(text: string): string {
  return Buffer.from(text).toString('base64');
}
