import { z } from 'zod';
import { keyArnOf, parseKeyArn, type KeyArn } from './key-arn.js';

const absolutePath = z.string().startsWith('/', 'must be an absolute path');
// Quotas of KMS: an alias has up to 256 characters, a key id 36.
const BARE_KEY = /^(alias\/[A-Za-z0-9/_-]{1,250}|[A-Za-z0-9-]{1,64})$/;
const LOOPBACK = new Set(['localhost', '127.0.0.1', '[::1]']);

const endpoint = z.string().refine((text) => {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname } = new URL(text);
  return protocol === 'https:' || (protocol === 'http:' && LOOPBACK.has(hostname));
}, 'must be an https URL; http is for loopback addresses only');

const region = z.string().regex(/^[a-z]{2,4}(-[a-z0-9]+)+$/, 'must be a region, for instance eu-central-1');
const account = z.string().regex(/^\d{12}$/, 'must be the 12 digits of an account, in quotes');

const roleArn = z
  .string()
  .regex(/^arn:aws[a-z-]*:iam::\d{12}:role\/.+$/, 'must be the ARN of an IAM role')
  .describe('ARN of the IAM role.');

const sessionName = z
  .string()
  .regex(/^[\w+=,.@-]{2,64}$/, 'must be 2 to 64 letters, digits or any of =,.@-_+')
  .default('sealwax')
  .describe('Name of the session; it appears in CloudTrail.');

// STS takes 15 minutes to 12 hours; the role may allow less.
const durationSeconds = z.int().min(900).max(43_200).default(3_600).describe('Lifetime of a session.');

const files = z.strictObject({
  method: z.literal('files').describe('An access key whose parts lie in files.'),
  accessKeyIdFile: absolutePath.describe('File that holds the access key id.'),
  secretAccessKeyFile: absolutePath.describe('File that holds the secret access key.'),
  sessionTokenFile: absolutePath.optional().describe('File that holds the session token, for temporary credentials.'),
});

const profile = z.strictObject({
  method: z
    .literal('profile')
    .describe('A profile of shared files: static keys, roles, SSO, or `credential_process` (IAM Roles Anywhere).'),
  profile: z.string().min(1).default('default').describe('Name of the profile.'),
  credentialsFile: absolutePath.optional().describe('The shared credentials file. This one, `configFile`, or both.'),
  configFile: absolutePath.optional().describe('The shared config file.'),
});

const webIdentity = z.strictObject({
  method: z.literal('web-identity').describe('A token of an OIDC issuer, exchanged for a session of a role.'),
  roleArn,
  tokenFile: absolutePath.describe('File that holds the token; read at each login.'),
  sessionName,
  durationSeconds,
});

const instance = z.strictObject({
  method: z.literal('instance').describe('The role of the EC2 instance, through IMDSv2.'),
});

const container = z.strictObject({
  method: z.literal('container').describe('The role of an ECS task or of an EKS pod identity.'),
  uri: z
    .url()
    .optional()
    .describe(
      'Where the credentials are to be had. When absent, AWS_CONTAINER_CREDENTIALS_{FULL,RELATIVE}_URI say so.',
    ),
  tokenFile: absolutePath
    .optional()
    .describe('File that holds the authorization token. When absent, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE says so.'),
});

const chain = z.strictObject({
  method: z
    .literal('chain')
    .describe("The SDK's default chain: environment, shared files, web identity, container, instance."),
});

const role = z.strictObject({
  roleArn,
  externalId: z
    .string()
    .min(2)
    .max(1_224)
    .optional()
    .describe("What the role's trust policy asks for as sts:ExternalId."),
  sessionName,
  durationSeconds,
  sourceArn: z
    .string()
    .startsWith('arn:', 'must be an ARN')
    .optional()
    .describe('Sent as x-amz-source-arn, for a trust policy with aws:SourceArn.'),
  sourceAccount: account
    .optional()
    .describe('Sent as x-amz-source-account, for a trust policy with aws:SourceAccount.'),
});

const source = [files, profile, webIdentity, instance, container, chain] as const;

const assumeRole = z.strictObject({
  method: z.literal('assume-role').describe('Roles that other credentials may assume.'),
  source: z.discriminatedUnion('method', source).describe('The credentials to begin with.'),
  roles: z.array(role).min(1).describe('Roles, assumed one after another; the last one uses the key.'),
});

export const awsConfig = z
  .strictObject({
    key: z
      .string()
      .describe(
        'ARN of a symmetric encryption key or of an alias; or a key id or `alias/…`, with `region` and `account`.',
      ),
    region: region.optional().describe('Region of the key, where `key` is no ARN.'),
    account: account.optional().describe('Account of the key, where `key` is no ARN.'),
    kekId: z
      .enum(['arn-and-material', 'arn'])
      .default('arn-and-material')
      .describe(
        'What names the KEK. `arn` does not see a rotation of the key material; it is for keys of a custom key store and for principals without kms:DescribeKey.',
      ),
    encryptionContext: z
      .record(
        z.string().regex(/^(?!aws:|sealwax)./i, 'must not begin with aws: or sealwax, which are taken'),
        z.string().min(1),
      )
      .default({})
      .describe(
        'Bound to each wrapped key, shown in CloudTrail, and usable in policies. Never change it: what was wrapped needs it.',
      ),
    auth: z.discriminatedUnion('method', [...source, assumeRole]).describe('Where the credentials come from.'),
    endpoint: endpoint.optional().describe('Address of KMS, for instance of a VPC endpoint.'),
    stsEndpoint: endpoint
      .optional()
      .describe('Address of STS, for `assume-role`, `web-identity` and profiles with a role.'),
    stsRegion: region.optional().describe('Region of STS; that of the key when absent.'),
    fips: z.boolean().default(false).describe('Use the FIPS endpoints.'),
    dualStack: z.boolean().default(false).describe('Use the endpoints that speak IPv4 and IPv6.'),
    caFile: absolutePath.optional().describe("CA certificates (PEM) that are trusted instead of the system's."),
  })
  .superRefine((config, context) => {
    const refuse = (message: string, ...path: string[]) => {
      context.addIssue({ code: 'custom', message, path });
    };
    const named = parseKeyArn(config.key);
    if (named === undefined) {
      if (!BARE_KEY.test(config.key)) refuse('must be the ARN or the id of a KMS key, or an alias', 'key');
      for (const part of ['region', 'account'] as const)
        if (config[part] === undefined) refuse('required, because key is no ARN', part);
    } else {
      for (const part of ['region', 'account'] as const)
        if (config[part] !== undefined && config[part] !== named[part]) refuse('contradicts the ARN in key', part);
    }
    if (/(^|:)alias\/aws\//.test(config.key)) refuse('is a key that AWS manages; no policy of yours reaches it', 'key');
    // The SDK refuses these at the first call.
    for (const option of ['fips', 'dualStack'] as const)
      if (config[option] && (config.endpoint ?? config.stsEndpoint) !== undefined)
        refuse('not together with endpoint or stsEndpoint, which stand for one address', option);
    for (const [auth, ...path] of [
      [config.auth, 'auth'] as const,
      ...(config.auth.method === 'assume-role' ? [[config.auth.source, 'auth', 'source'] as const] : []),
    ])
      if (auth.method === 'profile' && (auth.credentialsFile ?? auth.configFile) === undefined)
        refuse('required, or configFile', ...path, 'credentialsFile');
  });

export type AwsConfig = z.infer<typeof awsConfig>;
/** What `auth` may say. */
export type Auth = AwsConfig['auth'];
/** Credentials that need no others. */
export type SourceAuth = Exclude<Auth, { readonly method: 'assume-role' }>;

/** The key or alias that a checked config names. */
export function configuredKey({ key, region = '', account = '' }: AwsConfig): KeyArn {
  const arn = parseKeyArn(key) ?? parseKeyArn(keyArnOf(key, { region, account }));
  if (arn === undefined) throw new TypeError(`${key} passed the config's check and names no key`);
  return arn;
}
