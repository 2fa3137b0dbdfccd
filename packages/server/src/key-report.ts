import type { KeyRing, KeyState } from '@sealwax/core';
import type { Facts } from './facts.js';
import type { KeyReport } from './key-report-schema.js';

/** @param status - what Status would answer */
export function keyReport(
  ring: KeyRing,
  { status, facts }: { readonly status: { readonly healthz: string; readonly keyId: string }; readonly facts: Facts },
): KeyReport {
  return {
    cluster: ring.cluster,
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
    credentialExpires: facts.byKey.get(name)?.credentialExpiry?.toISOString(),
    advice: facts.byKey.get(name)?.advice,
    error: error === undefined ? undefined : `${error.code}: ${error.message}`,
  };
}
