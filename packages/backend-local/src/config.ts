import { z } from 'zod';

export const localConfig = z.strictObject({
  path: z
    .string()
    .startsWith('/', 'must be an absolute path')
    .describe('The key file, made by `sealwax local init`. Mode 0600, owned by the user that runs Sealwax or by root.'),
});

export type LocalConfig = z.infer<typeof localConfig>;
