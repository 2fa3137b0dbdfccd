import { createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { backend } from '@sealwax/backend-gcp';
import type { Harness } from '@sealwax/core/conformance';
import { FaultProxy } from './fault-proxy.js';
import { GcpDouble } from './gcp-double/gcp-double.js';
import type { KmsPermission } from './gcp-double/kms-api.js';
import type { ProtectionLevel } from './gcp-double/kms-store.js';
import type { StartKey } from './key-under-test.js';
import { TestAuthority } from './test-certificates.js';

const ALL_PERMISSIONS: readonly KmsPermission[] = [
  'cloudkms.cryptoKeys.get',
  'cloudkms.cryptoKeyVersions.useToEncrypt',
  'cloudkms.cryptoKeyVersions.useToDecrypt',
];
const KEY = 'projects/sealwax-e2e/locations/europe-west3/keyRings/kubernetes/cryptoKeys/kms';
const ACCOUNT = 'kms-plugin@sealwax-e2e.iam.gserviceaccount.com';

interface GcpServiceOptions {
  /** For the credential and the CA; an empty directory. */
  readonly directory: string;
  readonly protectionLevel?: ProtectionLevel;
}

/** Cloud KMS with one key and a service account that may use it, behind a proxy that can break the way to it. */
export class GcpService {
  readonly double: GcpDouble;
  readonly proxy: FaultProxy;
  readonly key = KEY;
  readonly account = ACCOUNT;
  readonly caFile: string;
  readonly credentialFile: string;
  readonly #privateKey: string;

  private constructor(double: GcpDouble, proxy: FaultProxy, directory: string) {
    this.double = double;
    this.proxy = proxy;
    this.caFile = path.join(directory, 'gcp-ca.pem');
    this.credentialFile = path.join(directory, 'gcp-credential.json');
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    this.#privateKey = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  }

  static async start({ directory, protectionLevel = 'SOFTWARE' }: GcpServiceOptions): Promise<GcpService> {
    const authority = new TestAuthority('Google Cloud of the tests');
    const double = new GcpDouble();
    await double.start(authority);
    const proxy = await FaultProxy.start({ upstreamPort: double.kmsPort });
    const service = new GcpService(double, proxy, directory);
    await writeFile(service.caFile, authority.cert, { mode: 0o644 });
    await service.writeServiceAccountKey();
    double.store.createKey(KEY, protectionLevel);
    service.grant(...ALL_PERMISSIONS);
    return service;
  }

  /** The key’s section in the config file. */
  get config(): Record<string, unknown> {
    return {
      key: KEY,
      endpoint: `localhost:${this.proxy.port}`,
      serverName: 'cloudkms.googleapis.com',
      caFile: this.caFile,
      auth: { method: 'credential-file', file: this.credentialFile },
    };
  }

  /** A key file as `gcloud iam service-accounts keys create` writes it: cloud.google.com/iam/docs/keys-create-delete. */
  async writeServiceAccountKey(): Promise<void> {
    const keyId = randomBytes(20).toString('hex');
    const keys = new Map([[keyId, createPublicKey(this.#privateKey)]]);
    this.double.accounts.serviceAccounts.set(ACCOUNT, { email: ACCOUNT, keys, impersonators: new Set() });
    const file = {
      type: 'service_account',
      project_id: 'sealwax-e2e',
      private_key_id: keyId,
      private_key: this.#privateKey,
      client_email: ACCOUNT,
      client_id: '100000000000000000000',
      token_uri: `${this.double.tokenOrigin}/token`,
      universe_domain: 'googleapis.com',
    };
    await writeFile(this.credentialFile, JSON.stringify(file, undefined, 2), { mode: 0o600 });
  }

  grant(...permissions: readonly KmsPermission[]): void {
    this.double.kms.grants.set(ACCOUNT, new Set(permissions));
  }

  rotate(): void {
    this.double.store.rotate(KEY);
  }

  get harness(): Harness {
    const { double, proxy } = this;
    const { store, kms, accounts } = double;
    const versions = () => store.key(KEY).versions;
    return {
      module: backend,
      moduleUrl: import.meta.resolve('@sealwax/backend-gcp'),
      config: this.config,
      secrets: [this.#privateKey],
      faults: {
        stranger: 'the proxy passes TLS as it is; the unit tests of backend-gcp play a gateway that answers',
        rotate: async () => {
          this.rotate();
        },
        stall: async () => proxy.set({ kind: 'black-hole' }),
        outage: async () => proxy.set({ kind: 'refuse' }),
        throttle: async () => {
          kms.quotaLeft = 0;
        },
        expireCredential: async () => {
          accounts.block(ACCOUNT);
        },
        deny: async () => {
          this.grant();
        },
        disable: async () => {
          for (const version of versions()) if (version.state === 'ENABLED') version.state = 'DISABLED';
        },
        deleteKey: async () => {
          for (const { name, state } of versions()) if (state === 'ENABLED') store.scheduleDestruction(name);
        },
        destroyOldVersion: async () => {
          const { primary } = store.key(KEY);
          for (const { name } of versions()) if (name !== primary?.name) store.destroy(name);
        },
        replaceKek: 'Cloud KMS gives the name of a key to no other, and numbers its versions on',
      },
      mend: async () => {
        await proxy.set({ kind: 'pass' });
        kms.quotaLeft = Infinity;
        kms.damage = undefined;
        accounts.unblock(ACCOUNT);
        this.grant(...ALL_PERMISSIONS);
        for (const version of versions()) {
          if (version.state === 'DESTROY_SCHEDULED') store.restore(version.name);
          if (version.state === 'DISABLED') version.state = 'ENABLED';
        }
      },
    };
  }

  async stop(): Promise<void> {
    await this.proxy.stop();
    await this.double.stop();
    await rm(this.credentialFile, { force: true });
  }
}

/** For the fault suites. */
export const startGcpKey: StartKey = async (directory) => {
  const service = await GcpService.start({ directory });
  return { backend: 'gcp', harness: service.harness, stop: async () => service.stop() };
};
