import { randomUUID } from 'node:crypto';
import { LoopbackServer } from '../loopback-server.js';
import type { TestAuthority } from '../test-certificates.js';
import { Entra } from './entra.js';
import { KeyStore } from './key-store.js';
import { Metadata } from './metadata.js';
import { VaultApi } from './vault-api.js';

/** Where a vault lives: learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates, "DNS suffixes". */
export type VaultDomain = 'vault.azure.net' | 'managedhsm.azure.net' | 'vault.usgovcloudapi.net' | 'vault.azure.cn';

/**
 * Azure as far as this project sees it: a vault, the authority that its tokens come from, and the metadata address of a machine, each on
 * a port of its own, so that each can fail alone.
 */
export class AzureDouble {
  readonly tenantId: string;
  readonly vaultName: string;
  readonly store: KeyStore;
  readonly vault: VaultApi;
  readonly entra: Entra;
  readonly metadata: Metadata;
  readonly #domain: VaultDomain;
  #servers:
    { readonly vault: LoopbackServer; readonly entra: LoopbackServer; readonly metadata: LoopbackServer } | undefined;
  /** Of tokens that are issued from now on. */
  tokenSeconds = 3_600;

  constructor({
    domain = 'vault.azure.net',
    vaultName = 'sealwax-e2e',
  }: { domain?: VaultDomain; vaultName?: string } = {}) {
    this.#domain = domain;
    this.vaultName = vaultName;
    this.tenantId = randomUUID();
    this.store = new KeyStore();
    const { tenantId } = this;
    const tokenSeconds = (): number => this.tokenSeconds;
    this.entra = new Entra({ tenantId, origin: () => this.authorityOrigin, tokenSeconds });
    this.metadata = new Metadata({ tenantId, tokenSeconds });
    this.vault = new VaultApi({
      host: `${vaultName}.${domain}`,
      domain,
      tenantId,
      authorityOrigin: () => this.authorityOrigin,
      store: this.store,
    });
  }

  async start(authority: TestAuthority): Promise<void> {
    const [vault, entra, metadata] = await Promise.all([
      LoopbackServer.start(this.vault.handle, authority.issue([`*.${this.#domain}`])),
      LoopbackServer.start(this.entra.handle, authority.issue(['localhost'])),
      LoopbackServer.start(this.metadata.handle),
    ]);
    this.#servers = { vault, entra, metadata };
  }

  async stop(): Promise<void> {
    await Promise.all(Object.values(this.#servers ?? {}).map(async (server) => server.stop()));
    this.#servers = undefined;
  }

  get vaultUrl(): string {
    return `https://${this.vaultName}.${this.#domain}`;
  }

  /** Where the vault really listens. */
  get vaultPort(): number {
    return this.#running.vault.port;
  }

  get authorityOrigin(): string {
    return `https://localhost:${this.#running.entra.port}`;
  }

  /** What the environment of a program on this machine would name. */
  get metadataOrigin(): string {
    return `http://127.0.0.1:${this.#running.metadata.port}`;
  }

  get #running() {
    if (this.#servers === undefined) throw new Error('the double of Azure does not run');
    return this.#servers;
  }
}
