import { KMSClient } from '@aws-sdk/client-kms';
import type { Backend, Host } from '@sealwax/core';
import { AwsBackend } from './aws-backend.js';
import { clientOptions } from './client-options.js';
import { configuredKey, type AwsConfig } from './config.js';
import { credentialSource } from './credentials.js';
import { Login } from './login.js';

/** See `BackendModule.open`. */
export async function openAws(config: AwsConfig, host: Host): Promise<Backend> {
  const key = configuredKey(config);
  const options = await clientOptions(config, host);
  const { stsEndpoint, stsRegion, endpoint } = config;
  const sts = {
    ...options,
    region: stsRegion ?? key.region,
    ...(stsEndpoint !== undefined && { endpoint: stsEndpoint }),
  };
  const login = new Login(credentialSource(config.auth, { sts, host }), config.auth.method, (fact) => {
    host.report(fact);
  });
  const client = new KMSClient({
    ...options,
    region: key.region,
    ...(endpoint !== undefined && { endpoint }),
    // Ours decides what is renewed when; the SDK would keep what has no end for ever.
    credentials: Object.assign(() => login.identity(), { memoized: true }),
  });
  const { kekId: kekIdForm, encryptionContext } = config;
  const opened = new AwsBackend({ client, login, key, kekIdForm, encryptionContext });
  // Beside whatever comes next: an advice is worth no wait.
  if (kekIdForm === 'arn') void advise(opened, host);
  return opened;
}

async function advise(opened: AwsBackend, host: Host): Promise<void> {
  if (!(await opened.canNameMaterial(host.signal))) return;
  const text =
    'kekId: arn does not see rotations of the key material; this key has a material id and it may be read, so kekId: arn-and-material fits better';
  host.report({ kind: 'advice', text });
}
