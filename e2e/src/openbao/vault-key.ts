import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { backend } from '@sealwax/backend-vault';
import type { Harness } from '@sealwax/core/conformance';
import { FaultProxy } from '../fault-proxy.js';
import type { KeyUnderTest } from '../key-under-test.js';
import { strangerAt } from '../stranger.js';
import type { BaoClient } from './bao-client.js';
import { OpenBao } from './open-bao.js';
import { TransitKey } from './transit-key.js';

/** The least that Sealwax needs, with the plain form of the KEK id. */
export const leastPolicy = `
path "transit/encrypt/sealwax" { capabilities = ["update"] }
path "transit/decrypt/sealwax" { capabilities = ["update"] }
`;

export interface VaultKey extends KeyUnderTest {
  readonly backend: 'vault';
  readonly config: Readonly<Record<string, unknown>>;
  readonly bao: OpenBao;
  readonly proxy: FaultProxy;
}

export interface VaultKeyOptions {
  readonly kekId?: 'version' | 'version-and-creation-time';
}

/** A transit key of a real OpenBao with TLS behind a fault proxy, and a login by AppRole. */
export async function startVaultKey(directory: string, { kekId = 'version' }: VaultKeyOptions = {}): Promise<VaultKey> {
  const bao = await OpenBao.start(path.join(directory, 'openbao'));
  const { root, certificate, authority } = bao;
  const proxy = await FaultProxy.start({
    upstreamPort: bao.port,
    http: { tls: { ...certificate, upstreamCa: authority.cert } },
  });
  await root.post('sys/mounts/transit', { type: 'transit' });
  const key = await TransitKey.create(root, 'sealwax');
  const policy =
    kekId === 'version' ? leastPolicy : `${leastPolicy}path "transit/keys/sealwax" { capabilities = ["read"] }`;
  const role = await AppRole.create(root, { directory: path.join(directory, 'login'), policy });
  const config = {
    address: `https://localhost:${proxy.port}`,
    caFile: bao.caFile,
    key: 'sealwax',
    kekId,
    auth: { method: 'approle', roleId: role.roleId, secretIdFile: role.secretIdFile },
  };
  const limited = JSON.stringify({ errors: ['request path "transit/encrypt/sealwax": rate limit quota exceeded'] });
  const harness: Harness = {
    module: backend,
    moduleUrl: import.meta.resolve('@sealwax/backend-vault'),
    config,
    secrets: role.secretIds,
    faults: {
      rotate: () => key.rotate(),
      stall: () => proxy.set({ kind: 'black-hole' }),
      outage: () => proxy.set({ kind: 'refuse' }),
      throttle: () => proxy.set({ kind: 'answer', status: 429, retryAfterSeconds: 1, body: limited }),
      expireCredential: () => role.revoke(),
      deny: () => role.allow(''),
      disable: () => key.softDelete(),
      deleteKey: () => key.delete(),
      destroyOldVersion: () => key.trim(),
      replaceKek: () => key.replace(),
      stranger: strangerAt(proxy),
    },
    mend: async () => {
      await proxy.set({ kind: 'pass' });
      await key.mend();
      await role.allow(policy);
      await role.renewSecretId();
    },
  };
  return {
    backend: 'vault',
    config,
    harness,
    bao,
    proxy,
    stop: async () => {
      await proxy.stop();
      await bao.stop();
    },
  };
}

/** An AppRole whose secret id lies in a file. */
class AppRole {
  readonly roleId: string;
  readonly secretIdFile: string;
  /** All that ever were. */
  readonly secretIds: string[] = [];
  readonly #root: BaoClient;
  #isGood = false;

  private constructor(root: BaoClient, roleId: string, directory: string) {
    this.#root = root;
    this.roleId = roleId;
    this.secretIdFile = path.join(directory, 'secret-id');
  }

  static async create(
    root: BaoClient,
    { directory, policy }: { readonly directory: string; readonly policy: string },
  ): Promise<AppRole> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await root.post('sys/auth/approle', { type: 'approle' });
    await root.post('auth/approle/role/sealwax', {
      token_policies: ['sealwax'],
      token_ttl: '1h',
      token_type: 'service',
    });
    const { data } = (await root.get('auth/approle/role/sealwax/role-id')) as { data: { role_id: string } };
    const role = new AppRole(root, data.role_id, directory);
    await role.allow(policy);
    await role.renewSecretId();
    return role;
  }

  async allow(policy: string): Promise<void> {
    await this.#root.post('sys/policies/acl/sealwax', { policy: policy === '' ? '# nothing' : policy });
  }

  /** Ends every token that this role gave, and takes back its secret ids. */
  async revoke(): Promise<void> {
    this.#isGood = false;
    const { data } = (await this.#root.list('auth/approle/role/sealwax/secret-id')) as { data: { keys: string[] } };
    for (const accessor of data.keys) {
      await this.#root.post('auth/approle/role/sealwax/secret-id-accessor/destroy', { secret_id_accessor: accessor });
    }
    await this.#root.post('sys/leases/revoke-prefix/auth/approle/login');
  }

  /** Puts a new secret id into the file where the old one was taken back. */
  async renewSecretId(): Promise<void> {
    if (this.#isGood) return;
    const { data } = (await this.#root.post('auth/approle/role/sealwax/secret-id')) as { data: { secret_id: string } };
    this.secretIds.push(data.secret_id);
    await writeFile(this.secretIdFile, `${data.secret_id}\n`, { mode: 0o600 });
    this.#isGood = true;
  }
}
