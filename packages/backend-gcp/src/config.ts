import { z } from 'zod';

const absolutePath = z.string().startsWith('/', 'must be an absolute path');
const impersonate = z
  .string()
  .regex(/^[^@\s/]+@[^@\s/]+$/, 'must be the e-mail address of a service account')
  .optional()
  .describe('The service account to act as; the login itself then needs only the right to make tokens for it.');

const credentialFile = z
  .strictObject({
    method: z.literal('credential-file'),
    file: absolutePath.describe(
      'A service account key, or the configuration of workload identity federation, as `gcloud` writes them (JSON).',
    ),
    impersonate,
  })
  .describe('A credential file.');

const metadataServer = z
  .strictObject({
    method: z.literal('metadata-server'),
    serviceAccount: z.string().default('default').describe('Which of the machine’s service accounts.'),
    impersonate,
  })
  .describe('The service account that the virtual machine runs as.');

const applicationDefault = z
  .strictObject({ method: z.literal('application-default'), impersonate })
  .describe(
    'The file that GOOGLE_APPLICATION_CREDENTIALS names in the environment of Sealwax, and the metadata server where it names none.',
  );

export const gcpConfig = z.strictObject({
  key: z
    .string()
    .regex(
      /^projects\/[^/\s]+\/locations\/[^/\s]+\/keyRings\/[^/\s]+\/cryptoKeys\/[^/\s]+$/,
      'must be projects/…/locations/…/keyRings/…/cryptoKeys/…, without a version',
    )
    .describe(
      'The resource name of a symmetric key (purpose ENCRYPT_DECRYPT), with the project’s id and not its number.',
    ),
  endpoint: z
    .string()
    .regex(/^[^\s/:@]+(:[0-9]{1,5})?$/, 'must be a host or host:port')
    .optional()
    .describe('The service’s address where it is not `cloudkms.<universeDomain>`: a regional or private endpoint.'),
  serverName: z
    .string()
    .optional()
    .describe('The name that the endpoint’s certificate must carry, where its address does not say it.'),
  universeDomain: z
    .string()
    .regex(/^[a-z0-9.-]+$/, 'must be a domain')
    .default('googleapis.com')
    .describe('The universe that key and credential belong to.'),
  caFile: absolutePath
    .optional()
    .describe('CA certificates (PEM) that are trusted instead of the system’s, for the service and for logins.'),
  auth: z.discriminatedUnion('method', [credentialFile, metadataServer, applicationDefault]).describe('How to log in.'),
});

export type GcpConfig = z.infer<typeof gcpConfig>;
