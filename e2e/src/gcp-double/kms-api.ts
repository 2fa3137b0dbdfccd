import { createRequire } from 'node:module';
import {
  loadPackageDefinition,
  Server,
  ServerCredentials,
  type handleUnaryCall,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { fromJSON } from '@grpc/proto-loader';
import type { INamespace } from 'protobufjs';
import type { IssuedCertificate } from '../test-certificates.js';
import type { Accounts } from './accounts.js';
import { castagnoli } from './checksum.js';
import type { KmsStore } from './kms-store.js';
import { KmsStatus } from './kms-status.js';

/** cloud.google.com/kms/docs/reference/permissions-and-roles. */
export type KmsPermission =
  'cloudkms.cryptoKeys.get' | 'cloudkms.cryptoKeyVersions.useToEncrypt' | 'cloudkms.cryptoKeyVersions.useToDecrypt';

/** What a bad line does to bytes between client and service. */
export type Damage = 'plaintext' | 'ciphertext' | 'additional data' | 'answer';

interface EncryptRequest {
  readonly name: string;
  readonly plaintext: Buffer;
  readonly additionalAuthenticatedData: Buffer;
  readonly plaintextCrc32c: { readonly value: string } | null;
  readonly additionalAuthenticatedDataCrc32c: { readonly value: string } | null;
}

interface DecryptRequest {
  readonly name: string;
  readonly ciphertext: Buffer;
  readonly additionalAuthenticatedData: Buffer;
  readonly ciphertextCrc32c: { readonly value: string } | null;
  readonly additionalAuthenticatedDataCrc32c: { readonly value: string } | null;
}

/** The `KeyManagementService` over gRPC, from the descriptors that Google publishes inside `@google-cloud/kms`. */
export class KmsApi {
  /** By account; each right is one on every key here. */
  readonly grants = new Map<string, Set<KmsPermission>>();
  readonly requests: string[] = [];
  /** Calls that are still taken; cloud.google.com/kms/quotas. */
  quotaLeft = Infinity;
  /** Instead of every answer. */
  outage: KmsStatus | undefined;
  damage: Damage | undefined;
  /** As a service would that was given no checksums, or a gateway that lost them. */
  forgetsChecksums = false;
  readonly #store: KmsStore;
  readonly #accounts: Accounts;
  #server: Server | undefined;

  constructor(store: KmsStore, accounts: Accounts) {
    this.#store = store;
    this.#accounts = accounts;
  }

  /** @returns the port */
  async start({ cert, key }: IssuedCertificate): Promise<number> {
    const server = new Server();
    server.addService(serviceDefinition(), this.#implementation);
    const pair = [{ cert_chain: Buffer.from(cert), private_key: Buffer.from(key) }];
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createSsl(null, pair), (error, bound) => {
        if (error === null) resolve(bound);
        else reject(error);
      });
    });
    this.#server = server;
    return port;
  }

  stop(): void {
    this.#server?.forceShutdown();
    this.#server = undefined;
  }

  get #implementation(): UntypedServiceImplementation {
    return {
      getCryptoKey: this.#unary<{ name: string }>('cloudkms.cryptoKeys.get', ({ name }) => this.#getCryptoKey(name)),
      encrypt: this.#unary<EncryptRequest>('cloudkms.cryptoKeyVersions.useToEncrypt', (request) =>
        this.#encrypt(request),
      ),
      decrypt: this.#unary<DecryptRequest>('cloudkms.cryptoKeyVersions.useToDecrypt', (request) =>
        this.#decrypt(request),
      ),
    };
  }

  #unary<Request extends { readonly name: string }>(
    permission: KmsPermission,
    answer: (request: Request) => unknown,
  ): handleUnaryCall<Request, unknown> {
    return ({ request, metadata }, callback) => {
      try {
        if (this.outage !== undefined) throw this.outage;
        const token = /^Bearer (.+)$/.exec(String(metadata.get('authorization')[0] ?? ''))?.[1];
        const account = token === undefined ? undefined : this.#accounts.accountOf(token);
        if (account === undefined) {
          throw new KmsStatus('UNAUTHENTICATED', 'Request had invalid authentication credentials.', {
            reason: 'ACCESS_TOKEN_EXPIRED',
          });
        }
        // google.aip.dev/client-libraries/4222: the service routes by this header.
        const routed = new URLSearchParams(String(metadata.get('x-goog-request-params')[0] ?? '')).get('name');
        if (routed !== request.name) throw new KmsStatus('INVALID_ARGUMENT', 'Missing routing header.');
        this.requests.push(`${permission} ${request.name}`);
        if (this.quotaLeft <= 0) {
          throw new KmsStatus('RESOURCE_EXHAUSTED', 'Quota exceeded for quota metric.', {
            reason: 'RATE_LIMIT_EXCEEDED',
            retryAfterSeconds: 7,
          });
        }
        this.quotaLeft -= 1;
        if (this.grants.get(account)?.has(permission) !== true) {
          const text = `Permission '${permission}' denied on resource '${request.name}' (or it may not exist).`;
          throw new KmsStatus('PERMISSION_DENIED', text, { reason: 'IAM_PERMISSION_DENIED' });
        }
        callback(null, answer(request));
      } catch (error) {
        if (error instanceof KmsStatus) callback(error.answer);
        else throw error;
      }
    };
  }

  /** googleapis/googleapis, google/cloud/kms/v1/resources.proto, `CryptoKey`. */
  #getCryptoKey(name: string): unknown {
    const { primary, protectionLevel } = this.#store.key(name);
    return {
      name,
      purpose: 'ENCRYPT_DECRYPT',
      ...(primary && { primary: { name: primary.name, state: primary.state, protectionLevel } }),
      versionTemplate: { protectionLevel, algorithm: 'GOOGLE_SYMMETRIC_ENCRYPTION' },
    };
  }

  /** Same place, service.proto, `EncryptRequest` and `EncryptResponse`. */
  #encrypt(request: EncryptRequest): unknown {
    const plaintext = this.#damaged('plaintext', request.plaintext);
    const additional = this.#damaged('additional data', request.additionalAuthenticatedData);
    const checked = {
      verifiedPlaintextCrc32c: compare('plaintext_crc32c', plaintext, request.plaintextCrc32c),
      verifiedAdditionalAuthenticatedDataCrc32c: compare(
        'additional_authenticated_data_crc32c',
        additional,
        request.additionalAuthenticatedDataCrc32c,
      ),
    };
    const verified = this.forgetsChecksums ? {} : checked;
    const { version, ciphertext } = this.#store.encrypt(request.name, plaintext, additional);
    const { protectionLevel } = this.#store.key(version.name.slice(0, version.name.indexOf('/cryptoKeyVersions/')));
    const checksum = { value: String(castagnoli(ciphertext)) };
    return {
      name: version.name,
      ciphertext: this.#damaged('answer', ciphertext),
      ciphertextCrc32c: checksum,
      protectionLevel,
      ...verified,
    };
  }

  /** Same place, `DecryptRequest` and `DecryptResponse`. */
  #decrypt(request: DecryptRequest): unknown {
    const ciphertext = this.#damaged('ciphertext', request.ciphertext);
    const additional = this.#damaged('additional data', request.additionalAuthenticatedData);
    compare('ciphertext_crc32c', ciphertext, request.ciphertextCrc32c);
    compare('additional_authenticated_data_crc32c', additional, request.additionalAuthenticatedDataCrc32c);
    const { key, version, plaintext } = this.#store.decrypt(request.name, ciphertext, additional);
    return {
      plaintext: this.#damaged('answer', plaintext),
      plaintextCrc32c: { value: String(castagnoli(plaintext)) },
      usedPrimary: key.primary === version,
      protectionLevel: key.protectionLevel,
    };
  }

  #damaged(where: Damage, bytes: Buffer): Buffer {
    if (this.damage !== where) return bytes;
    return Buffer.from(bytes.map((byte, index) => (index === bytes.length >> 1 ? byte ^ 0x10 : byte)));
  }
}

/**
 * Same place: "KeyManagementService will report an error if the checksum verification fails"; whether one was given is what the
 * `verified_…` fields of the answer say.
 */
function compare(field: string, bytes: Buffer, checksum: { readonly value: string } | null): boolean {
  if (checksum === null) return false;
  if (Number(checksum.value) !== castagnoli(bytes)) {
    throw new KmsStatus('INVALID_ARGUMENT', `The checksum in field ${field} did not match the data in the field.`);
  }
  return true;
}

function serviceDefinition(): ServiceDefinition {
  const json = createRequire(import.meta.url)('@google-cloud/kms/build/protos/protos.json') as INamespace;
  const definition = fromJSON(json, { longs: String, enums: String, defaults: true, oneofs: true });
  const service: unknown = loadPackageDefinition(definition);
  let found = service;
  for (const step of ['google', 'cloud', 'kms', 'v1', 'KeyManagementService', 'service']) {
    found = Reflect.get(Object(found) as object, step);
  }
  return found as ServiceDefinition;
}
