import { z } from 'zod';

const seconds = z.number().optional();

/** What `/keys` answers and `sealwax keys` shows. Durations in seconds; absent where there is nothing to tell. */
export const keyReportSchema = z.object({
  cluster: z.string(),
  /** As Status reports it now; empty while nothing is sealed. */
  keyId: z.string(),
  healthz: z.string(),
  alarms: z.array(z.string()),
  keys: z.array(
    z.object({
      name: z.string(),
      role: z.string(),
      backend: z.string(),
      state: z.string(),
      forSeconds: z.number(),
      kekId: z.string().optional(),
      lastProbeSeconds: seconds,
      lastGoodContactSeconds: seconds,
      /** For how long every answer to Encrypt has carried a record of this key. */
      carriedForSeconds: seconds,
      /** Since a Decrypt last needed this key. */
      neededSeconds: seconds,
      credentialExpires: z.string().optional(),
      advice: z.string().optional(),
      error: z.string().optional(),
    }),
  ),
});

export type KeyReport = z.infer<typeof keyReportSchema>;
