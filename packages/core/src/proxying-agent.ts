import type { Agent, ClientRequest } from 'node:http';
import type { Agent as HttpsAgent } from 'node:https';
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
  readonly #proxied = new Map<string, HttpsProxyAgent<string>>();

  constructor(direct: HttpsAgent) {
    super();
    this.#direct = direct;
  }

  override connect(_request: ClientRequest, { host, port }: AgentConnectOpts): Promise<Agent> {
    const proxy = proxyFor(`https://${host ?? 'localhost'}:${port}`);
    return Promise.resolve(proxy === undefined ? this.#direct : this.#through(proxy));
  }

  override destroy(): void {
    for (const agent of [this.#direct, ...this.#proxied.values()]) agent.destroy();
    super.destroy();
  }

  #through(proxy: URL): Agent {
    let agent = this.#proxied.get(proxy.href);
    if (agent === undefined) {
      agent = new HttpsProxyAgent(proxy.href, this.#direct.options);
      // The same object, so that certificates that are read again count here too.
      agent.options = this.#direct.options as typeof agent.options;
      this.#proxied.set(proxy.href, agent);
    }
    return agent;
  }
}
