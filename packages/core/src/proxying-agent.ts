import type { Agent, ClientRequest } from 'node:http';
import type { Agent as HttpsAgent } from 'node:https';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import { Agent as BaseAgent, type AgentConnectOpts } from 'agent-base';
import { HttpsProxyAgent } from 'https-proxy-agent';
import { proxyFor } from './proxy.js';

/** An agent that sends each request through the proxy that the environment names for its host, and through `direct` where it names none. */
export function proxyingAgent(direct: HttpsAgent): Agent {
  return new ProxyingAgent(direct);
}

class ProxyingAgent extends BaseAgent {
  readonly #direct: HttpsAgent;
  /** By proxy, so that connections through it are kept. */
  readonly #tunnels = new Map<string, TunnelAgent>();

  constructor(direct: HttpsAgent) {
    // Decides over the header `connection` of every request; without it the agents behind get no connection back to keep.
    super({ keepAlive: true });
    this.#direct = direct;
  }

  override connect(_request: ClientRequest, { host, port }: AgentConnectOpts): Promise<Agent> {
    const proxy = proxyFor(`https://${host ?? 'localhost'}:${port}`);
    return Promise.resolve(proxy === undefined ? this.#direct : this.#through(proxy));
  }

  override destroy(): void {
    for (const agent of [this.#direct, ...this.#tunnels.values()]) agent.destroy();
    super.destroy();
  }

  #through(proxy: URL): Agent {
    let agent = this.#tunnels.get(proxy.href);
    if (agent === undefined) {
      agent = new TunnelAgent(proxy, this.#direct);
      this.#tunnels.set(proxy.href, agent);
    }
    return agent;
  }
}

/** Keeps tunnels through one proxy. */
class TunnelAgent extends HttpsProxyAgent<string> {
  readonly #proxyHost: string;

  constructor(proxy: URL, { options }: HttpsAgent) {
    // Not the options themselves: CA, name and certificate are for the KMS, and not for a proxy that speaks TLS itself.
    super(proxy.href, { keepAlive: true, ...(options.timeout !== undefined && { timeout: options.timeout }) });
    this.#proxyHost = proxy.host;
    // The same object, so that certificates that are read again count here too.
    this.options = options as typeof this.options;
  }

  override async connect(
    request: ClientRequest,
    options: AgentConnectOpts,
  ): ReturnType<HttpsProxyAgent<string>['connect']> {
    // Else the library hands the proxy's answer on as that of the KMS, and a proxy's 403 would pass for a refusal of the key.
    request.once('proxyConnect', ({ statusCode, statusText }: { statusCode: number; statusText: string }) => {
      if (statusCode === 200) return;
      const refused = new Error(`the proxy ${this.#proxyHost} answered ${statusCode} ${statusText}`);
      request.destroy(Object.assign(refused, { code: 'ECONNREFUSED' }));
    });
    return super.connect(request, namingHost(options));
  }
}

/**
 * The library does not say whom it connects to when that is an IP address, and Node then checks the certificate for the name "localhost".
 */
function namingHost(options: AgentConnectOpts): AgentConnectOpts {
  const { host } = options;
  if (!options.secureEndpoint || options.servername || host === undefined) return options;
  return {
    ...options,
    checkServerIdentity: (_name: string, certificate: PeerCertificate) => checkServerIdentity(host, certificate),
  };
}
