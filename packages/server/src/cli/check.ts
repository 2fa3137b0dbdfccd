import { bytesPerObject, checkKey, isBackendError, type LocalKeyRecord, type Observer } from '@sealwax/core';
import { loadConfig } from '../config/load.js';
import { refuseUnsafeEnvironment } from '../process-guard.js';
import { ringOptions } from '../serve.js';

const WARN_BYTES = 1024;

/**
 * `sealwax check`: does with each key what serving would do, and prints a verdict.
 *
 * @returns whether every key passed
 * @throws {ConfigError} when the config itself is wrong
 */
export async function check(configFile: string): Promise<boolean> {
  refuseUnsafeEnvironment();
  const config = await loadConfig(configFile);
  console.log(`config ${configFile}: ok, cluster ${config.cluster}`);
  const { limits, cluster, generation } = ringOptions(config);
  const records: LocalKeyRecord[] = [];
  for (const key of config.loadedKeys) {
    const facts: string[] = [];
    try {
      const record = await checkKey(key, limits, noteFacts(facts));
      records.push(record);
      console.log(`key ${key.name} (${key.backendName}): ok: wraps and unwraps with ${record.kekId}`);
    } catch (error) {
      if (!isBackendError(error)) throw error;
      console.log(`key ${key.name} (${key.backendName}): FAILED: ${error.code}: ${error.message}`);
    }
    for (const fact of facts) console.log(`key ${key.name}: ${fact}`);
  }
  const failed = config.loadedKeys.length - records.length;
  const [writer] = config.loadedKeys;
  if (failed > 0 || writer === undefined) {
    console.log(`${failed} of ${config.loadedKeys.length} keys failed`);
    return false;
  }
  const bytes = bytesPerObject(records, { cluster, generation, writer: writer.name });
  console.log(
    `every object in etcd grows by ${bytes} bytes${bytes > WARN_BYTES ? `: more than ${WARN_BYTES}; fewer keys make it less` : ''}`,
  );
  return true;
}

/** Keeps what a backend reports; what fails is thrown as well. */
function noteFacts(facts: string[]): Observer {
  const nothing = () => undefined;
  return {
    remoteCall: nothing,
    keyChanged: nothing,
    published: nothing,
    alarm: nothing,
    fact(_key, fact) {
      if (fact.kind === 'advice') facts.push(`advice: ${fact.text}`);
      if (fact.kind === 'credential-expiry' && fact.at !== undefined)
        facts.push(`credential expires ${fact.at.toISOString()}`);
    },
  };
}
