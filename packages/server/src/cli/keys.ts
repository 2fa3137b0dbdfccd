import { loadConfig } from '../config/load.js';
import { keyReportSchema, type KeyReport } from '../key-report-schema.js';
import { refuseUnsafeEnvironment } from '../process-guard.js';
import { check } from './check.js';

const ANSWER_TIMEOUT_MS = 2_000;

/**
 * `sealwax keys`: each key as the running plugin sees it; where none runs, what `sealwax check` finds.
 *
 * @returns whether every key is well
 * @throws {ConfigError} when the config itself is wrong
 */
export async function showKeys(configFile: string, { output }: { readonly output: 'text' | 'json' }): Promise<boolean> {
  refuseUnsafeEnvironment();
  const { http, cluster } = await loadConfig(configFile);
  const report = await askRunningPlugin(http.address);
  if (report?.cluster !== cluster) {
    const why =
      report === undefined
        ? `no plugin answers at ${http.address}`
        : `the plugin at ${http.address} serves cluster ${report.cluster}`;
    console.error(`${why}; checking the keys from here`);
    return check(configFile, { output });
  }
  if (output === 'json') console.log(JSON.stringify(report, undefined, 2));
  else printReport(report);
  return report.keys.every(({ state }) => state === 'ready');
}

async function askRunningPlugin(address: string): Promise<KeyReport | undefined> {
  try {
    const answer = await fetch(`http://${address}/keys`, { signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) });
    return keyReportSchema.parse(await answer.json());
  } catch {
    return undefined;
  }
}

function printReport({ keyId, healthz, alarms, keys }: KeyReport): void {
  console.log(`status: ${healthz}`);
  console.log(`key id: ${keyId === '' ? 'none' : keyId}`);
  // Each answer to Encrypt carries one record at least, and months may pass before the first.
  const encrypted = keys.some(({ carriedForSeconds }) => carriedForSeconds !== undefined);
  for (const key of keys) {
    const ago = (seconds: number | undefined, otherwise: string) =>
      seconds === undefined ? otherwise : `${seconds} s ago`;
    console.log(`key ${key.name} (${key.role}, ${key.backend}): ${key.state} for ${key.forSeconds} s`);
    console.log(`  KEK id:             ${key.kekId ?? 'not read yet'}`);
    console.log(`  last probe:         ${ago(key.lastProbeSeconds, 'none yet')}`);
    console.log(`  last good contact:  ${ago(key.lastGoodContactSeconds, 'none yet')}`);
    const carried = key.carriedForSeconds;
    const notCarried = encrypted ? 'no' : 'not known before the next Encrypt';
    console.log(`  opens new data:     ${carried === undefined ? notCarried : `yes, since ${carried} s`}`);
    console.log(`  last Decrypt by it: ${ago(key.neededSeconds, 'none since start')}`);
    if (key.credentialExpires !== undefined) console.log(`  credential expires: ${key.credentialExpires}`);
    if (key.advice !== undefined) console.log(`  advice:             ${key.advice}`);
    if (key.error !== undefined) console.log(`  error:              ${key.error}`);
  }
  for (const alarm of alarms) console.log(`degraded: ${alarm}`);
}
