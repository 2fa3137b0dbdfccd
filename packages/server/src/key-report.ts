import type { KeyRing, KeyState } from '@sealwax/core';
import { z } from 'zod';
import type { Facts } from './facts.js';

const seconds = z.number().optional();

/** What `/keys` answers and `sealwax keys` shows. Durations in seconds; absent where there is nothing to tell. */
export const keyReportSchema = z.object({
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

/** @param status - what Status would answer */
export function keyReport(
  ring: KeyRing,
  { status, facts }: { readonly status: { readonly healthz: string; readonly keyId: string }; readonly facts: Facts },
): KeyReport {
  return {
    keyId: status.keyId,
    healthz: status.healthz,
    alarms: [...ring.standingAlarms],
    keys: ring.keyStates.map((state) => describe(state, facts)),
  };
}

function describe(state: KeyState, facts: Facts): KeyReport['keys'][number] {
  const { name, role, backend, kekId, error } = state;
  const inSeconds = (ms: number | undefined) => (ms === undefined ? undefined : Math.round(ms / 1000));
  return {
    name,
    role,
    backend,
    state: state.state,
    forSeconds: Math.round(state.forMs / 1000),
    kekId,
    lastProbeSeconds: inSeconds(state.lastProbeMs),
    lastGoodContactSeconds: inSeconds(state.lastGoodContactMs),
    carriedForSeconds: inSeconds(state.carriedForMs),
    neededSeconds: inSeconds(state.neededMs),
    credentialExpires: facts.credentialExpiry(name)?.toISOString(),
    advice: facts.advice(name),
    error: error === undefined ? undefined : `${error.code}: ${error.message}`,
  };
}
