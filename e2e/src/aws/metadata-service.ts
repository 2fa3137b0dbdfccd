import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';

/** Credentials as the metadata services of AWS show them. */
export interface ShownSession {
  readonly AccessKeyId: string;
  readonly SecretAccessKey: string;
  readonly Token: string;
  readonly Expiration: string;
}

const ROLES = '/latest/meta-data/iam/security-credentials/';

/**
 * The instance metadata service (IMDSv2 only, so that a request without a session token is refused) and the credential address of a container, on
 * loopback. Each request for credentials gets a new session.
 *
 * @see https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
 */
export class MetadataService {
  readonly url: string;
  /** What a container must send as its authorization. */
  authorization: string;
  readonly #server: Server;
  readonly #session: () => Promise<ShownSession>;
  readonly #tokens = new Set<string>();

  private constructor(server: Server, port: number, session: () => Promise<ShownSession>) {
    this.#server = server;
    this.url = `http://127.0.0.1:${port}`;
    this.authorization = randomBytes(8).toString('hex');
    this.#session = session;
  }

  static async start(session: () => Promise<ShownSession>): Promise<MetadataService> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('a TCP server without a port');
    const service = new MetadataService(server, address.port, session);
    server.on('request', (request, response) => {
      service.#answer(request).then(
        ({ status, body }) => response.writeHead(status).end(body),
        () => response.writeHead(500).end(),
      );
    });
    return service;
  }

  async stop(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  async #answer({
    method,
    url,
    headers,
  }: IncomingMessage): Promise<{ readonly status: number; readonly body: string }> {
    if (url === '/container')
      return headers.authorization === this.authorization
        ? { status: 200, body: JSON.stringify(await this.#session()) }
        : { status: 403, body: '{}' };
    if (method === 'PUT' && url === '/latest/api/token') {
      const token = randomBytes(16).toString('hex');
      this.#tokens.add(token);
      return { status: 200, body: token };
    }
    if (!this.#tokens.has(String(headers['x-aws-ec2-metadata-token']))) return { status: 401, body: '' };
    if (url === ROLES) return { status: 200, body: 'node' };
    if (url === `${ROLES}node`)
      return { status: 200, body: JSON.stringify({ Code: 'Success', Type: 'AWS-HMAC', ...(await this.#session()) }) };
    return { status: 404, body: '' };
  }
}
