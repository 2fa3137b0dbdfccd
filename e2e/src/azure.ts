import { randomBytes, randomUUID } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { backend } from '@sealwax/backend-azure';
import type { Harness } from '@sealwax/core/conformance';
import { AzureDouble, type VaultDomain } from './azure-double/azure-double.js';
import type { KeyType } from './azure-double/key-store.js';
import type { KeyAction } from './azure-double/vault-api.js';
import { FaultProxy } from './fault-proxy.js';
import type { StartKey } from './key-under-test.js';
import { TestAuthority } from './test-certificates.js';

const ALL_ACTIONS: readonly KeyAction[] = ['keys/read', 'keys/wrap/action', 'keys/unwrap/action'];
const KEY = 'kms';

interface AzureServiceOptions {
  /** For the credential and the CA; an empty directory. */
  readonly directory: string;
  readonly domain?: VaultDomain;
  readonly keyType?: KeyType;
}

/** A vault with one key and an application that may use it, behind a proxy that can break the way to it. */
export class AzureService {
  readonly double: AzureDouble;
  readonly proxy: FaultProxy;
  readonly caFile: string;
  readonly clientId: string;
  readonly clientSecret: string;
  readonly clientSecretFile: string;
  readonly #keyType: KeyType;

  private constructor(double: AzureDouble, proxy: FaultProxy, options: { directory: string; keyType: KeyType }) {
    this.double = double;
    this.proxy = proxy;
    this.caFile = path.join(options.directory, 'azure-ca.pem');
    this.clientSecretFile = path.join(options.directory, 'azure-client-secret');
    this.clientId = randomUUID();
    this.clientSecret = randomBytes(20).toString('base64url');
    this.#keyType = options.keyType;
  }

  static async start({
    directory,
    domain = 'vault.azure.net',
    keyType = 'RSA',
  }: AzureServiceOptions): Promise<AzureService> {
    const authority = new TestAuthority('Azure of the tests');
    const double = new AzureDouble({ domain });
    await double.start(authority);
    const proxy = await FaultProxy.start({ upstreamPort: double.vaultPort });
    const service = new AzureService(double, proxy, { directory, keyType });
    await writeFile(service.caFile, authority.cert, { mode: 0o644 });
    await writeFile(service.clientSecretFile, service.clientSecret, { mode: 0o600 });
    double.store.create(KEY, keyType);
    double.entra.applications.set(service.clientId, {
      clientId: service.clientId,
      secrets: new Set([service.clientSecret]),
      certificates: new Set(),
      federated: new Map(),
    });
    service.grant(...ALL_ACTIONS);
    return service;
  }

  /** The key’s section in the config file. */
  get config(): Record<string, unknown> {
    return {
      vault: this.double.vaultUrl,
      key: KEY,
      ...(this.#keyType === 'oct-HSM' && { algorithm: 'A256KW' }),
      endpoint: `127.0.0.1:${this.proxy.port}`,
      authorityHost: this.double.authorityOrigin,
      caFile: this.caFile,
      auth: {
        method: 'client-secret',
        tenantId: this.double.tenantId,
        clientId: this.clientId,
        clientSecretFile: this.clientSecretFile,
      },
    };
  }

  get key(): string {
    return KEY;
  }

  rotate(): void {
    this.double.store.create(KEY, this.#keyType);
  }

  grant(...actions: readonly KeyAction[]): void {
    this.double.vault.grants.set(this.clientId, new Set(actions));
  }

  get harness(): Harness {
    const { double, proxy, clientId } = this;
    const { store, vault, entra } = double;
    const enable = (enabled: boolean): void => {
      for (const version of store.versions(KEY)) version.enabled = enabled;
    };
    return {
      module: backend,
      moduleUrl: import.meta.resolve('@sealwax/backend-azure'),
      config: this.config,
      secrets: [this.clientSecret],
      faults: {
        stranger: 'the proxy passes TLS as it is; the unit tests of backend-azure play a gateway that answers',
        rotate: async () => {
          this.rotate();
        },
        stall: async () => proxy.set({ kind: 'black-hole' }),
        outage: async () => proxy.set({ kind: 'refuse' }),
        throttle: async () => {
          vault.quota = { requests: 0, windowMs: 2_000 };
        },
        expireCredential: async () => {
          entra.applications.get(clientId)?.secrets.clear();
          vault.revokeTokens(clientId);
        },
        deny: async () => {
          this.grant();
        },
        disable: async () => {
          enable(false);
        },
        deleteKey: async () => {
          store.delete(KEY);
        },
        destroyOldVersion: 'Key Vault deletes a key with all its versions, never a single one',
        replaceKek: async () => {
          store.delete(KEY);
          store.purge(KEY);
          this.rotate();
        },
      },
      mend: async () => {
        await proxy.set({ kind: 'pass' });
        vault.quota = undefined;
        entra.applications.get(clientId)?.secrets.add(this.clientSecret);
        vault.acceptTokens(clientId);
        this.grant(...ALL_ACTIONS);
        if (store.isDeleted(KEY)) store.recover(KEY);
        enable(true);
      },
    };
  }

  async stop(): Promise<void> {
    await this.proxy.stop();
    await this.double.stop();
    await rm(this.clientSecretFile, { force: true });
  }
}

/** For the fault suites. */
export const startAzureKey: StartKey = async (directory) => {
  const service = await AzureService.start({ directory });
  return { backend: 'azure', harness: service.harness, stop: async () => service.stop() };
};
