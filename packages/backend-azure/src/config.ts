import { z } from 'zod';

const absolutePath = z.string().startsWith('/', 'must be an absolute path');
const guid = z.string().regex(/^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/, 'must be a GUID');
const tenantId = guid.describe('The Microsoft Entra tenant that the application belongs to.');
const clientId = guid.describe('The application (client) id.');

const managedIdentity = z
  .strictObject({
    method: z.literal('managed-identity'),
    clientId: guid
      .optional()
      .describe('The client id of a user-assigned identity; without any id, the system-assigned one.'),
    resourceId: z.string().startsWith('/subscriptions/').optional().describe('The same by its Azure resource id.'),
    objectId: guid.optional().describe('The same by its object (principal) id.'),
  })
  .refine(({ clientId, resourceId, objectId }) => [clientId, resourceId, objectId].filter(Boolean).length <= 1, {
    message: 'clientId, resourceId and objectId name the same identity in three ways: give one',
  })
  .describe(
    'The identity of the virtual machine, or of an Azure Arc server; the platform names its endpoint in the environment.',
  );

const workloadIdentity = z
  .strictObject({
    method: z.literal('workload-identity'),
    tenantId,
    clientId,
    tokenFile: absolutePath.describe('The token that the identity provider wrote, exchanged at each login.'),
  })
  .describe(
    'A token of a trusted identity provider (a Kubernetes service account, for instance), federated with the application.',
  );

const clientSecret = z
  .strictObject({
    method: z.literal('client-secret'),
    tenantId,
    clientId,
    clientSecretFile: absolutePath.describe('File with the client secret.'),
  })
  .describe('A client secret of the application.');

const clientCertificate = z
  .strictObject({
    method: z.literal('client-certificate'),
    tenantId,
    clientId,
    certificateFile: absolutePath.describe(
      'File with the certificate and its private key, both PEM, the key without a password.',
    ),
    sendChain: z
      .boolean()
      .default(false)
      .describe('Send the certificate chain too, for subject-name-and-issuer logins.'),
  })
  .describe('A certificate of the application.');

const algorithms = ['RSA-OAEP-256', 'A128KW', 'A192KW', 'A256KW'] as const;

export const azureConfig = z.strictObject({
  vault: z
    .string()
    .transform((text, context) => {
      const url = vaultUrl(text);
      if (url !== undefined) return url;
      context.addIssue({ code: 'custom', message: 'must be https://<name>.<domain>, nothing behind it' });
      return z.NEVER;
    })
    .describe('The URL of the vault or Managed HSM, for instance `https://prod-kms.vault.azure.net`.'),
  key: z
    .string()
    .regex(/^[0-9a-zA-Z-]{1,127}$/, 'must be 1 to 127 letters, digits and hyphens')
    .describe('The name of the key, without a version.'),
  algorithm: z
    .enum(algorithms)
    .default('RSA-OAEP-256')
    .describe('How the key wraps: RSA-OAEP-256 for RSA keys, A256KW (A192KW, A128KW) for AES keys of a Managed HSM.'),
  endpoint: z
    .string()
    .regex(/^[^\s/:@]+(:[0-9]{1,5})?$|^\[[0-9a-fA-F:]+\](:[0-9]{1,5})?$/, 'must be a host or host:port')
    .optional()
    .describe(
      'Host, or host:port, to connect to instead of the vault’s own name: a private endpoint that DNS does not know. The certificate must be the vault’s.',
    ),
  cloud: z
    .enum(['public', 'us-government', 'china'])
    .default('public')
    .describe('The Azure cloud, which decides where logins go.'),
  authorityHost: z
    .url({ protocol: /^https$/, error: 'must be an https URL' })
    .optional()
    .describe('Where logins go instead: an Entra authority that no `cloud` names.'),
  caFile: absolutePath
    .optional()
    .describe('CA certificates (PEM) that are trusted instead of the system’s, for the vault and for logins.'),
  auth: z
    .discriminatedUnion('method', [managedIdentity, workloadIdentity, clientSecret, clientCertificate])
    .describe('How to log in.'),
});

export type AzureConfig = z.infer<typeof azureConfig>;
export type AzureAuth = AzureConfig['auth'];

/** The URL without a slash at its end and in lower case, as the service writes it in key ids; `undefined` when it is more than a host. */
function vaultUrl(text: string): string | undefined {
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  if (url.protocol !== 'https:' || !url.hostname.includes('.')) return undefined;
  return url.href === `${url.origin}/` ? url.origin : undefined;
}
