import { readFileSync } from 'node:fs';
import { z } from 'zod';

const { version: packageVersion } = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')));

/** Of this package. */
export const version = packageVersion;
