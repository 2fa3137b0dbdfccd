/** The whole suite runs on this one. */
export const newestKubernetes = '1.37.2';

/** KMS v2 became GA here; before, the API server's gRPC client sends an authority that Node refuses. */
export const floorKubernetes = '1.29.15';

const floorMinor = 29;

/** @throws {RangeError} when `text` names no version that the plugin supports */
export function checkKubernetesVersion(text: string): void {
  const minor = /^1\.(\d+)\.\d+$/.exec(text)?.[1];
  if (minor === undefined)
    throw new RangeError(`Kubernetes ${text}: write it as 1.MINOR.PATCH, such as ${newestKubernetes}`);
  if (Number(minor) < floorMinor)
    throw new RangeError(`Kubernetes ${text}: 1.${floorMinor} is the oldest that is supported`);
}

/** The version that `run.ts` asks for; the newest when vitest is run by hand. */
export function kubernetesUnderTest(): string {
  return process.env['SEALWAX_E2E_KUBERNETES'] ?? newestKubernetes;
}
