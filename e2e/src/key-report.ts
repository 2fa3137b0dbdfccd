import { z } from 'zod';

/** What the suite reads of the plugin's `/keys`. */
export const keyReportSchema = z.object({
  keyId: z.string(),
  healthz: z.string(),
  alarms: z.array(z.string()),
  keys: z.array(
    z.object({
      name: z.string(),
      role: z.string(),
      state: z.string(),
      kekId: z.string().optional(),
      carriedForSeconds: z.number().optional(),
      neededSeconds: z.number().optional(),
      error: z.string().optional(),
    }),
  ),
});

export type KeyReport = z.infer<typeof keyReportSchema>;
