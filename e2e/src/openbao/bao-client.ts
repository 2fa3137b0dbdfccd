import { once } from 'node:events';
import { request } from 'node:https';
import { text } from 'node:stream/consumers';
import type { IncomingMessage } from 'node:http';

/** An answer of OpenBao's API that is no success. */
export class BaoRefusal extends Error {
  override readonly name = 'BaoRefusal';
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export interface BaoClientOptions {
  readonly port: number;
  readonly ca: string;
  readonly token?: string;
  readonly namespace?: string;
}

type Json = Readonly<Record<string, unknown>>;

/** OpenBao's API as an administrator uses it. */
export class BaoClient {
  readonly #options: BaoClientOptions;

  constructor(options: BaoClientOptions) {
    this.#options = options;
  }

  with(change: Partial<BaoClientOptions>): BaoClient {
    return new BaoClient({ ...this.#options, ...change });
  }

  async get(path: string): Promise<Json> {
    return this.#call('GET', path, undefined);
  }

  async list(path: string): Promise<Json> {
    return this.#call('LIST', path, undefined);
  }

  async post(path: string, body: Json = {}): Promise<Json> {
    return this.#call('POST', path, body);
  }

  async delete(path: string): Promise<Json> {
    return this.#call('DELETE', path, undefined);
  }

  /** The status of a request, whatever it is; `undefined` when nobody answers. */
  async status(path: string): Promise<number | undefined> {
    try {
      await this.get(path);
      return 200;
    } catch (error) {
      return error instanceof BaoRefusal ? error.status : undefined;
    }
  }

  /** @throws {BaoRefusal} */
  async #call(method: string, path: string, body: Json | undefined): Promise<Json> {
    const { port, ca, token, namespace } = this.#options;
    const outgoing = request({
      host: '127.0.0.1',
      port,
      ca,
      servername: 'localhost',
      method,
      path: `/v1/${path}`,
      headers: {
        ...(token !== undefined && { 'x-vault-token': token }),
        ...(namespace !== undefined && { 'x-vault-namespace': namespace }),
      },
    });
    const responded = once(outgoing, 'response');
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
    const [incoming] = (await responded) as [IncomingMessage];
    const answer = await text(incoming);
    const status = incoming.statusCode ?? 0;
    if (status >= 300) throw new BaoRefusal(status, `OpenBao: ${method} ${path}: ${status} ${answer}`);
    return answer === '' ? {} : (JSON.parse(answer) as Json);
  }
}
