import { z } from 'zod';

const absolutePath = z.string().startsWith('/', 'must be an absolute path');

/** How a mechanism is written in the config. What each asks of a key, and what it protects: docs/backends/hsm.md. */
export const MECHANISMS = ['aes-gcm', 'aes-cbc-hmac', 'rsa-oaep', 'aes-key-wrap-pad'] as const;
export type MechanismName = (typeof MECHANISMS)[number];

export const HASHES = ['sha1', 'sha256', 'sha384', 'sha512'] as const;
export type HashName = (typeof HASHES)[number];

const label = z.string().min(1).max(100);
const keyIdentifier = z
  .string()
  .regex(/^([0-9a-f]{2}){1,64}$/, 'must be 1 to 64 bytes in lower-case hexadecimal, as `sealwax hsm list` prints it');

const tokenConfig = z
  .strictObject({
    label: label.max(32).optional().describe('The token’s label.'),
    serial: z.string().min(1).max(16).optional().describe('Its serial number; with both, both must fit.'),
  })
  .refine(
    ({ label, serial }) => label !== undefined || serial !== undefined,
    'must name a label, a serial or both; a slot’s number may change',
  );

const keyConfig = z
  .strictObject({
    label: label.optional().describe('CKA_LABEL. Keys with this label and different ids are the versions of the KEK.'),
    id: keyIdentifier
      .optional()
      .describe('CKA_ID in lower-case hexadecimal. Given alone or with a label, there is this one version.'),
  })
  .refine(({ label, id }) => label !== undefined || id !== undefined, 'must name a label, an id or both');

const optionalParts = {
  environment: z
    .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'must be a name of letters, digits and "_"'), z.string())
    .default({})
    .describe('The whole environment of the process that loads the module, for instance SOFTHSM2_CONF. No secrets.'),
  moduleParameters: z
    .string()
    .optional()
    .describe(
      "Given to C_Initialize as library parameters. NSS needs them: configdir='sql:/path' certPrefix='' keyPrefix=''.",
    ),
  moduleOutput: z
    .enum(['discard', 'stderr'])
    .default('discard')
    .describe('Where what the module prints goes. Some modules print PINs when told to debug.'),
  pinFile: absolutePath
    .optional()
    .describe(
      'File with the user PIN, mode 0600 or 0640; a newline at its end is no part of it. Without it there is no login.',
    ),
  mechanism: z
    .enum(MECHANISMS)
    .optional()
    .describe('How to wrap. Left out, opening fails with the list of those that the token and the key can do.'),
  hash: z.enum(HASHES).optional().describe('For rsa-oaep; sha256 when absent. SoftHSM knows only sha1.'),
  macKey: z
    .strictObject({ label: label.describe('CKA_LABEL of the MAC keys; each has the CKA_ID of its AES key.') })
    .optional()
    .describe('For aes-cbc-hmac; the label of `key` when absent.'),
  current: z
    .union([z.literal('newest'), keyIdentifier])
    .default('newest')
    .describe('Which version wraps: the one with the highest id, or the one with this id.'),
  fingerprint: z
    .enum(['auto', 'none'])
    .default('auto')
    .describe('none: do without what tells a replaced key apart, where the token offers nothing to tell it by.'),
  rereadModule: z
    .boolean()
    .default(false)
    .describe(
      'true for modules that read their keys only when they are initialized (tpm2-pkcs11): they are initialized anew before the current version is read.',
    ),
  sessions: z.int().min(1).max(64).default(4).describe('Operations in the token at the same time.'),
  callTimeoutSeconds: z
    .number()
    .positive()
    .max(300)
    .default(5)
    .describe('A module that answers no sooner is taken to hang: its process is killed and started anew.'),
  openTimeoutSeconds: z
    .number()
    .positive()
    .max(300)
    .default(10)
    .describe('The same for starting the process: loading the module, login, and proving the mechanism.'),
  memoryLimitMebibytes: z
    .int()
    .min(64)
    .default(512)
    .describe('Above this resident size the module’s process is started anew.'),
};

const moduleParts = {
  module: absolutePath.describe(
    'The PKCS#11 module, a shared library. Only root and the user of Sealwax may be able to write to it.',
  ),
  token: tokenConfig.describe('Which token.'),
  key: keyConfig.describe('Which key of the token.'),
};

export const hsmConfig = z
  .strictObject({ ...moduleParts, ...optionalParts })
  .refine(({ mechanism, hash }) => hash === undefined || mechanism === 'rsa-oaep', {
    path: ['hash'],
    message: 'only for rsa-oaep',
  })
  .refine(({ mechanism, macKey }) => macKey === undefined || mechanism === 'aes-cbc-hmac', {
    path: ['macKey'],
    message: 'only for aes-cbc-hmac',
  })
  .refine(({ key, current }) => key.id === undefined || current === 'newest' || current === key.id, {
    path: ['current'],
    message: 'names another id than key.id',
  });

export type HsmConfig = z.infer<typeof hsmConfig>;
