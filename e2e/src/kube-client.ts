import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:https';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { Metrics } from './prometheus-text.js';

/** The two kinds that the suite's EncryptionConfiguration encrypts. */
export type EncryptedResource = 'secrets' | 'configmaps';

/** A Secret or ConfigMap of the namespace `default`; `data` is plain text for both. */
export interface KubeObject {
  readonly name: string;
  readonly data: Readonly<Record<string, string>>;
  /** Makes an update fail when somebody else changed the object since. */
  readonly resourceVersion?: string | undefined;
}

/** The API server's refusal. */
export class KubeError extends Error {
  override readonly name = 'KubeError';
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const wireObject = z.object({
  metadata: z.object({ name: z.string(), resourceVersion: z.string() }),
  data: z.record(z.string(), z.string()).default({}),
});
type WireObject = z.infer<typeof wireObject>;
const wireList = z.object({ items: z.array(wireObject) });
const wireAnyList = z.object({
  items: z.array(z.looseObject({ metadata: z.looseObject({ name: z.string(), namespace: z.string() }) })),
});
const wireStatus = z.object({ message: z.string() });

interface Answer {
  readonly status: number;
  readonly body: string;
}

/** A client of one API server, with a bearer token. */
export class KubeClient {
  readonly #port: number;
  readonly #token: string;
  readonly #certificatePath: string;
  /** Made anew when the API server has made its certificate, which is after its first start. */
  #agent: Agent | undefined;

  constructor(options: { readonly port: number; readonly token: string; readonly certificatePath: string }) {
    this.#port = options.port;
    this.#token = options.token;
    this.#certificatePath = options.certificatePath;
  }

  async create(resource: EncryptedResource, object: KubeObject): Promise<KubeObject> {
    return this.#object(resource, 'POST', collection(resource), object);
  }

  async get(resource: EncryptedResource, name: string): Promise<KubeObject> {
    return this.#object(resource, 'GET', `${collection(resource)}/${name}`);
  }

  async update(resource: EncryptedResource, object: KubeObject): Promise<KubeObject> {
    return this.#object(resource, 'PUT', `${collection(resource)}/${object.name}`, object);
  }

  async delete(resource: EncryptedResource, name: string): Promise<void> {
    await this.call('DELETE', `${collection(resource)}/${name}`);
  }

  async list(resource: EncryptedResource): Promise<KubeObject[]> {
    const { items } = wireList.parse(JSON.parse(await this.call('GET', collection(resource))));
    return items.map((item) => fromWire(resource, item));
  }

  /** Writes every object of all namespaces back as it is, as a storage migration does. */
  async rewriteAll(resource: EncryptedResource): Promise<void> {
    const { items } = wireAnyList.parse(JSON.parse(await this.call('GET', `/api/v1/${resource}`)));
    for (const item of items) {
      const { namespace, name } = item.metadata;
      await this.call('PUT', `/api/v1/namespaces/${namespace}/${resource}/${name}`, item);
    }
  }

  /** One endpoint that is no object; an HTTP error is an answer like any other. */
  async probe(path: '/livez' | '/readyz' | '/version'): Promise<Answer> {
    return this.#send('GET', path);
  }

  async metrics(): Promise<Metrics> {
    return new Metrics(await this.call('GET', '/metrics'));
  }

  /** @throws {KubeError} on any answer but 2xx */
  async call(method: string, path: string, body?: unknown): Promise<string> {
    const answer = await this.#send(method, path, body);
    if (answer.status >= 200 && answer.status < 300) return answer.body;
    throw new KubeError(answer.status, `${method} ${path}: ${answer.status} ${statusMessage(answer.body)}`);
  }

  /** Drops open connections. */
  close(): void {
    this.#agent?.destroy();
    this.#agent = undefined;
  }

  async #object(resource: EncryptedResource, method: string, path: string, object?: KubeObject): Promise<KubeObject> {
    const body = object === undefined ? undefined : toWire(resource, object);
    return fromWire(resource, wireObject.parse(JSON.parse(await this.call(method, path, body))));
  }

  async #send(method: string, path: string, body?: unknown): Promise<Answer> {
    this.#agent ??= new Agent({ keepAlive: true, ca: await readFile(this.#certificatePath) });
    const outgoing = request({
      agent: this.#agent,
      host: '127.0.0.1',
      port: this.#port,
      method,
      path,
      timeout: 30_000,
      headers: { authorization: `Bearer ${this.#token}`, 'content-type': 'application/json' },
    });
    outgoing.once('timeout', () => outgoing.destroy(new Error(`${method} ${path}: no answer within 30 s`)));
    const answered = once(outgoing, 'response');
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
    const [response] = (await answered) as [IncomingMessage];
    return { status: response.statusCode ?? 0, body: await text(response) };
  }
}

const collection = (resource: EncryptedResource): string => `/api/v1/namespaces/default/${resource}`;

function toWire(resource: EncryptedResource, object: KubeObject): unknown {
  return {
    apiVersion: 'v1',
    kind: resource === 'secrets' ? 'Secret' : 'ConfigMap',
    metadata: { name: object.name, resourceVersion: object.resourceVersion },
    data: mapValues(object.data, (value) => (resource === 'secrets' ? Buffer.from(value).toString('base64') : value)),
  };
}

function fromWire(resource: EncryptedResource, object: WireObject): KubeObject {
  return {
    ...object.metadata,
    data: mapValues(object.data, (value) => (resource === 'secrets' ? Buffer.from(value, 'base64').toString() : value)),
  };
}

function mapValues(data: Readonly<Record<string, string>>, change: (value: string) => string): Record<string, string> {
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, change(value)]));
}

function statusMessage(body: string): string {
  try {
    return wireStatus.parse(JSON.parse(body)).message;
  } catch {
    return body.slice(0, 500);
  }
}
