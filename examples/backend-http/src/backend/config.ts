import { z } from 'zod';

const absolutePath = z.string().startsWith('/', 'must be an absolute path');

/** The `config` section of a key. Unknown keys are errors; secrets appear as paths only. */
export const httpConfig = z.strictObject({
  address: z.url({ protocol: /^https$/ }).describe('Address of the KMS, for instance https://kms.example:8443.'),
  caFile: absolutePath.optional().describe('CA certificates (PEM) to trust instead of the system’s.'),
  clientId: z.string().min(1).describe('Who we are.'),
  clientSecretFile: absolutePath.describe('File with the client secret, mode 0600.'),
  key: z
    .string()
    .regex(/^[a-z0-9-]{1,63}$/, 'must be 1 to 63 of a-z, 0-9 and "-"')
    .describe('Name of the KEK.'),
});

export type HttpConfig = z.infer<typeof httpConfig>;
