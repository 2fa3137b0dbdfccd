import { KMSClient } from '@aws-sdk/client-kms';
import { backend } from '@sealwax/backend-aws';
import type { Harness } from '@sealwax/core/conformance';
import path from 'node:path';
import { FaultProxy } from '../fault-proxy.js';
import { strangerAt } from '../stranger.js';
import { awsException } from './aws-exception.js';
import { KmsAdmin } from './kms-admin.js';
import { LocalStack } from './local-stack.js';
import { writeAccessKey } from './secret-files.js';

// LocalStack takes it for the account.
const accessKeyId = '111122223333';
export const region = 'eu-central-1';

/** A backend, its config and its service, for the conformance kit and for clusters. */
export interface AwsCounterpart {
  readonly backend: 'aws';
  readonly config: Readonly<Record<string, unknown>>;
  readonly harness: Harness;
  readonly admin: KmsAdmin;
  readonly localStack: LocalStack;
  /** Stands between the backend and LocalStack. */
  readonly proxy: FaultProxy;
  readonly stop: () => Promise<void>;
}

/**
 * LocalStack behind a fault proxy, with a key and an alias that the config names.
 *
 * Rotation and disabling are LocalStack's own. It enforces no identity and deletes no key before its time: what KMS would then say is said by
 * the proxy, by the names and with the status of the real one.
 */
export async function startAwsCounterpart(directory: string): Promise<AwsCounterpart> {
  const localStack = await LocalStack.start(directory);
  const proxy = await FaultProxy.start({ upstreamPort: localStack.port, http: {} });
  const { auth, secretAccessKey } = await writeAccessKey(path.join(directory, 'aws-access-key'), accessKeyId);
  const client = new KMSClient({ region, endpoint: localStack.url, credentials: { accessKeyId, secretAccessKey } });
  const admin = await KmsAdmin.create(client, 'alias/sealwax');
  const config = { key: admin.aliasArn, endpoint: `http://127.0.0.1:${proxy.port}`, auth };
  const harness: Harness = {
    module: backend,
    moduleUrl: import.meta.resolve('@sealwax/backend-aws'),
    config,
    secrets: [secretAccessKey],
    faults: {
      rotate: () => admin.rotate(),
      stall: () => proxy.set({ kind: 'black-hole' }),
      outage: () => proxy.set({ kind: 'refuse' }),
      throttle: () => proxy.set(awsException('ThrottlingException')),
      expireCredential: () => proxy.set(awsException('ExpiredTokenException')),
      deny: () => proxy.set(awsException('AccessDeniedException')),
      disable: () => admin.disable(),
      deleteKey: () => proxy.set(awsException('NotFoundException')),
      destroyOldVersion: 'AWS KMS keeps every key material of a key that it made for as long as the key',
      replaceKek: 'AWS KMS gives an id to one key only',
      stranger: strangerAt(proxy),
    },
    mend: async () => {
      await admin.enable();
      await proxy.set({ kind: 'pass' });
    },
  };
  return {
    backend: 'aws',
    config,
    harness,
    admin,
    localStack,
    proxy,
    stop: async () => {
      client.destroy();
      await proxy.stop();
      await localStack.stop();
    },
  };
}
