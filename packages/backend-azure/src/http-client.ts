import { Agent, type Agent as HttpAgent } from 'node:http';
import {
  createDefaultHttpClient,
  type HttpClient,
  type PipelineRequest,
  type PipelineResponse,
} from '@azure/core-rest-pipeline';
import type { Host } from '@sealwax/core';
import type { AzureConfig } from './config.js';
import { foreignCode, isErrorOfVault } from './errors.js';

/** The way to the vault and to the places where logins go. */
export interface HttpClients {
  readonly vault: HttpClient;
  readonly login: HttpClient;
}

/**
 * Clients for the SDK that speak through the host's agent: it knows the proxy and the private CA.
 *
 * An agent of the SDK's own would take the proxy from the environment, also for the metadata address, which no proxy can reach.
 *
 * @throws {BackendError} `unauthenticated` when the CA file cannot be used
 */
export async function httpClients({ caFile, endpoint, vault }: AzureConfig, host: Host): Promise<HttpClients> {
  const inner = createDefaultHttpClient();
  const agent = await host.httpsAgent({ caFile });
  const plain = new Agent();
  const through = (request: PipelineRequest, https: HttpAgent): PipelineRequest => {
    // Plain HTTP only ever goes to the metadata address of the machine itself.
    request.agent = request.url.startsWith('https:') ? https : plain;
    return request;
  };
  const direct: HttpClient = { sendRequest: (request) => inner.sendRequest(through(request, agent)) };
  if (endpoint === undefined) {
    return { vault: { sendRequest: async (request) => withReason(await direct.sendRequest(request)) }, login: direct };
  }

  const { hostname } = new URL(vault);
  // TLS still asks for the vault's name and checks the certificate for it.
  const toEndpoint = await host.httpsAgent({ caFile, serverName: hostname });
  const elsewhere: HttpClient = {
    async sendRequest(request) {
      const { url } = request;
      const moved = new URL(url);
      request.headers.set('Host', moved.host);
      moved.host = endpoint;
      if (!/:\d+$/.test(endpoint)) moved.port = '';
      request.url = moved.href;
      try {
        return withReason(await inner.sendRequest(through(request, toEndpoint)));
      } finally {
        // The SDK compares the challenge of the vault with the name that was asked for.
        request.url = url;
      }
    },
  };
  return { vault: elsewhere, login: direct };
}

/**
 * An answer that says no, in the form in which Key Vault says it: at any other (a page of a gateway, an empty body) the SDK fails with a
 * TypeError that hides the status.
 */
function withReason(response: PipelineResponse): PipelineResponse {
  if (response.status < 400 || isErrorOfVault(response.bodyAsText)) return response;
  response.headers.set('content-type', 'application/json');
  return { ...response, bodyAsText: JSON.stringify({ error: { code: foreignCode(response.status) } }) };
}
