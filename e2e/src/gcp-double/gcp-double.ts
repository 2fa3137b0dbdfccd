import { LoopbackServer } from '../loopback-server.js';
import type { TestAuthority } from '../test-certificates.js';
import { Accounts } from './accounts.js';
import { KmsApi } from './kms-api.js';
import { KmsStore } from './kms-store.js';

/** Google Cloud as far as this project sees it: Cloud KMS, the endpoints that give out tokens, and the metadata server of a machine. */
export class GcpDouble {
  readonly store: KmsStore;
  readonly accounts: Accounts;
  readonly kms: KmsApi;
  #running: { readonly port: number; readonly tokens: LoopbackServer; readonly metadata: LoopbackServer } | undefined;

  constructor() {
    this.store = new KmsStore();
    this.accounts = new Accounts();
    this.kms = new KmsApi(this.store, this.accounts);
  }

  async start(authority: TestAuthority): Promise<void> {
    const [port, tokens, metadata] = await Promise.all([
      this.kms.start(authority.issue(['cloudkms.googleapis.com', 'localhost'])),
      LoopbackServer.start(
        this.accounts.handleTokens,
        authority.issue(['iamcredentials.googleapis.com', 'oauth2.googleapis.com', 'localhost']),
      ),
      LoopbackServer.start(this.accounts.handleMetadata),
    ]);
    this.#running = { port, tokens, metadata };
  }

  async stop(): Promise<void> {
    this.kms.stop();
    await Promise.all([this.#running?.tokens.stop(), this.#running?.metadata.stop()]);
    this.#running = undefined;
  }

  get kmsPort(): number {
    return this.#ports.port;
  }

  get tokenOrigin(): string {
    return `https://localhost:${this.tokenPort}`;
  }

  get tokenPort(): number {
    return this.#ports.tokens.port;
  }

  /** For GCE_METADATA_HOST. */
  get metadataHost(): string {
    return `127.0.0.1:${this.#ports.metadata.port}`;
  }

  get #ports() {
    if (this.#running === undefined) throw new Error('the double of Google Cloud does not run');
    return this.#running;
  }
}
