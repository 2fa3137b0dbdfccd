import { BackendError } from '@sealwax/core';
import { googleAuthLibrary } from 'google-gax';
import { z } from 'zod';

const { ExternalAccountClient, JWT } = googleAuthLibrary;

/** The types of credential that a file may hold; another one could send the login to an address of its own choice. */
const serviceAccountKey = z.object({
  type: z.literal('service_account'),
  client_email: z.string(),
  private_key: z.string(),
  private_key_id: z.string().optional(),
});
const federation = z.looseObject({ type: z.literal('external_account') });
const credentialSchema = z.discriminatedUnion('type', [serviceAccountKey, federation]);

/**
 * The client for what a credential file holds.
 *
 * @throws {BackendError} `unauthenticated` when that is none of the two types
 */
export function clientOf(
  content: unknown,
  options: Pick<googleAuthLibrary.JWTOptions, 'universeDomain' | 'transporterOptions'> & { readonly scopes: string[] },
): googleAuthLibrary.AuthClient {
  const parsed = credentialSchema.safeParse(content);
  if (!parsed.success) {
    const reason = 'the credential file holds neither a service account key nor a workload identity federation';
    throw new BackendError('unauthenticated', `gcp: log in: ${reason}`);
  }
  const credential = parsed.data;
  if (credential.type === 'service_account') {
    const { client_email: email, private_key: key, private_key_id: keyId } = credential;
    const client = new JWT({ ...options, email, key, ...(keyId !== undefined && { keyId }) });
    // Signs its token itself, for these scopes, and so needs nobody to log in.
    client.useJWTAccessWithScope = true;
    return client;
  }
  const client = ExternalAccountClient.fromJSON({ ...credential, ...options } as Parameters<
    typeof ExternalAccountClient.fromJSON
  >[0]);
  if (client === null) throw new Error('no federation');
  client.scopes = options.scopes;
  // The library exchanges tokens over a transport of its own, which knows neither our CA nor our proxy.
  const exchange: unknown = Reflect.get(client, 'stsCredential');
  if (typeof exchange === 'object' && exchange !== null) Reflect.set(exchange, 'transporter', client.transporter);
  return client;
}
