import type { HttpAnswer, HttpRequest } from '../loopback-server.js';
import { issueToken } from './token.js';

interface MetadataOptions {
  readonly tenantId: string;
  readonly tokenSeconds: () => number;
}

/**
 * The metadata address of a virtual machine: learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token,
 * "Get a token using HTTP" and "Error handling".
 */
export class Metadata {
  /** By client id; `system` stands for the system-assigned one. */
  readonly identities = new Set<string>();
  readonly #options: MetadataOptions;
  outage: HttpAnswer | undefined;
  logins = 0;

  constructor(options: MetadataOptions) {
    this.#options = options;
  }

  readonly handle = ({ url, headers }: HttpRequest): HttpAnswer => {
    if (this.outage !== undefined) return this.outage;
    // Where the environment names the address, the client puts a slash behind the path.
    if (!/^\/metadata\/identity\/oauth2\/token\/?$/.test(url.pathname))
      return { status: 404, json: { error: 'not_found' } };
    this.logins += 1;
    if (headers['metadata'] !== 'true') {
      return refusal('bad_request_102', 'Required metadata header not specified');
    }
    const resource = url.searchParams.get('resource');
    if (resource === null) return refusal('invalid_resource', 'AADSTS50001: The resource was not found.');
    const identity = url.searchParams.get('client_id') ?? 'system';
    if (!this.identities.has(identity)) return refusal('invalid_request', 'Identity not found');
    const seconds = this.#options.tokenSeconds();
    const token = issueToken({ audience: resource, application: identity, tenant: this.#options.tenantId, seconds });
    const expiresOn = String(Math.floor(Date.now() / 1_000) + seconds);
    return {
      status: 200,
      json: { access_token: token, expires_in: String(seconds), expires_on: expiresOn, resource, token_type: 'Bearer' },
    };
  };
}

function refusal(error: string, description: string): HttpAnswer {
  return { status: 400, json: { error, error_description: description } };
}
