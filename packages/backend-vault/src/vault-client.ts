import nodeVault from 'node-vault';
import type { Transport } from './transport.js';

/** With what a request is made, besides its path and body. */
export interface RequestContext {
  readonly namespace: string | undefined;
  /** `undefined` for a login. */
  readonly token: string | undefined;
}

/** What node-vault hands to its transport, as far as we need it. */
interface NodeVaultRequest {
  readonly method: string;
  readonly uri: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly json?: unknown;
  readonly signal: AbortSignal;
}

// Any base would do: `Transport` puts the node's own in its place.
const ENDPOINT = 'https://vault.invalid';

/** node-vault's API over our own transport: its own follows redirects with the token, ignores signals and makes a TLS handshake per call. */
export class VaultClient {
  readonly #api: nodeVault.client;

  constructor(transport: Transport) {
    this.#api = nodeVault({
      endpoint: ENDPOINT,
      // Its log holds bodies: tokens, secret ids and local keys.
      debug: () => undefined,
      'request-promise': {
        defaults: () => async (request: NodeVaultRequest) => {
          const path = request.uri.slice(ENDPOINT.length);
          const { method, headers, signal } = request;
          const body = request.json === undefined ? undefined : JSON.stringify(request.json);
          const answer = await transport.send({ method, path, headers, body, signal });
          return { statusCode: answer.status, body: answer.body, request: { path } };
        },
      },
    });
    // These it takes from VAULT_TOKEN, VAULT_NAMESPACE and VAULT_PREFIX where they are not given; token and namespace travel with each request.
    Object.assign(this.#api, { token: '', namespace: '', pathPrefix: '' });
  }

  /** @throws {VaultFailure} */
  async read(path: string, context: RequestContext, signal: AbortSignal): Promise<unknown> {
    signal.throwIfAborted();
    return (await this.#api.read(path, { headers: headersOf(context), signal })) as unknown;
  }

  /** @throws {VaultFailure} */
  async write(
    path: string,
    { body, ...context }: RequestContext & { readonly body: Readonly<Record<string, unknown>> },
    signal: AbortSignal,
  ): Promise<unknown> {
    signal.throwIfAborted();
    return (await this.#api.write(path, body, { headers: headersOf(context), signal })) as unknown;
  }
}

function headersOf({ namespace, token }: RequestContext): Record<string, string> {
  return {
    ...(namespace !== undefined && { 'X-Vault-Namespace': namespace }),
    ...(token !== undefined && { 'X-Vault-Token': token }),
  };
}
