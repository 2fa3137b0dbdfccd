import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { DeleteAliasCommand, DescribeKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { backend } from '@sealwax/backend-aws';
import type { Harness } from '@sealwax/core/conformance';
import { waitFor } from '../wait-for.js';
import { KmsAdmin } from './kms-admin.js';
import { writeAccessKey, writeSecret } from './secret-files.js';
import type { RotatingKey } from './describe-rotation.js';

const notHere = 'an account of AWS is not broken for a test; the emulators are';
const patience = { timeoutMs: 300_000, intervalMs: 2_000 };

/** A key of a real account, for the kit and the rotation tests. */
export interface LiveAccount extends RotatingKey {
  readonly harness: Harness;
}

/**
 * Makes a key and an alias in the account of the environment's credentials, and says so before.
 *
 * AWS_REGION must be set. AWS_ENDPOINT_URL leads to an emulator instead, to try the lane itself.
 *
 * @param purpose - a part of the alias
 * @param filesIn - where the credentials of now are written for a plugin, which sees nothing of our environment; without it the config says `chain`
 */
export async function startLiveAccount(purpose: string, filesIn?: string): Promise<LiveAccount> {
  const { AWS_REGION: region, AWS_ENDPOINT_URL: endpoint } = process.env;
  if (region === undefined) throw new Error('AWS_REGION says where the live lane makes its keys; it is not set');
  const alias = `alias/sealwax-e2e-${purpose}-${randomBytes(4).toString('hex')}`;
  console.log(
    `LIVE: makes in ${region}, with the credentials of the environment: the alias ${alias}, and 1 to 4 symmetric KMS keys that it points at ($1 a month each until deleted, rotations $1 more).\n` +
      'LIVE: removes the alias at the end and schedules the deletion of the keys in 7 days. If this run is killed, do so by hand.',
  );
  const client = new KMSClient({ region });
  const admin = await KmsAdmin.create(client, alias, {
    Description: 'made by the end-to-end tests of Sealwax; may be deleted',
  });
  console.log(`LIVE: made ${admin.keyArn}`);
  const material = async () =>
    (await client.send(new DescribeKeyCommand({ KeyId: admin.keyArn }))).KeyMetadata?.CurrentKeyMaterialId;
  // KMS accepts a change at once and shows it to everybody some seconds later.
  const untilState = async (state: string) => {
    const look = async () =>
      (await client.send(new DescribeKeyCommand({ KeyId: admin.keyArn }))).KeyMetadata?.KeyState === state;
    await waitFor(look, { what: `the key to be ${state}`, ...patience });
  };
  const auth = filesIn === undefined ? { method: 'chain' } : await credentialFiles(client, filesIn);
  const config = { key: admin.aliasArn, auth, ...(endpoint !== undefined && { endpoint }) };
  return {
    config,
    admin,
    harness: {
      module: backend,
      config,
      secrets: [process.env['AWS_SECRET_ACCESS_KEY'], process.env['AWS_SESSION_TOKEN']].filter(
        (secret) => secret !== undefined,
      ),
      faults: {
        rotate: async () => {
          const before = [admin.keyArn, await material()].join();
          await admin.rotate();
          const look = async () => [admin.keyArn, await material()].join() !== before;
          await waitFor(look, { what: 'the rotation', ...patience });
        },
        stall: notHere,
        outage: notHere,
        throttle: notHere,
        expireCredential: notHere,
        deny: notHere,
        disable: async () => {
          await admin.disable();
          await untilState('Disabled');
        },
        deleteKey: 'AWS KMS deletes a key after seven days at the earliest',
        destroyOldVersion: 'AWS KMS keeps every key material of a key that it made for as long as the key',
        replaceKek: 'AWS KMS gives an id to one key only',
      },
      mend: async () => {
        await admin.enable();
        await untilState('Enabled');
      },
    },
    stop: async () => {
      await client.send(new DeleteAliasCommand({ AliasName: alias }));
      await admin.scheduleDeletion();
      console.log(`LIVE: removed ${alias}; to be deleted in 7 days: ${admin.keyArns.join(', ')}`);
      client.destroy();
    },
  };
}

async function credentialFiles(client: KMSClient, directory: string): Promise<object> {
  const { accessKeyId, secretAccessKey, sessionToken } = await client.config.credentials();
  const { auth } = await writeAccessKey(directory, accessKeyId, secretAccessKey);
  if (sessionToken === undefined) return auth;
  const sessionTokenFile = path.join(directory, 'session-token');
  await writeSecret(sessionTokenFile, sessionToken);
  return { ...auth, sessionTokenFile };
}
