import { bytesPerObject, checkKey, isBackendError, type Fact, type LocalKeyRecord, type Observer } from '@sealwax/core';
import { loadConfig, type LoadedConfig } from '../config/load.js';
import { describeKey, describePackage } from '../load-backend.js';
import { refuseUnsafeEnvironment } from '../process-guard.js';
import { ringConfig } from '../serve.js';

const WARN_BYTES = 1024;

interface CheckOptions {
  /** `text` when absent. */
  readonly output?: 'text' | 'json';
  /** The config of another node, to be compared. */
  readonly against?: string | undefined;
}

/** What came of one key. */
interface Verdict {
  readonly key: string;
  readonly role: string;
  readonly backend: string;
  /** Name and version. */
  readonly package: string;
  readonly ok: boolean;
  readonly kekId: string | undefined;
  readonly text: string;
  readonly facts: readonly string[];
}

/**
 * `sealwax check`: does with each key what serving would do, and prints a verdict.
 *
 * @returns whether every key passed, and the two configs agree where there are two
 * @throws {ConfigError} when a config itself is wrong
 */
export async function check(configFile: string, { output = 'text', against }: CheckOptions = {}): Promise<boolean> {
  refuseUnsafeEnvironment();
  const print = (line: string) => {
    if (output === 'text') console.log(line);
  };
  const config = await loadConfig(configFile);
  print(`config ${configFile}: ok, cluster ${config.cluster}`);
  const { verdicts, records } = await tryKeys(config, print);
  const failed = verdicts.filter(({ ok }) => !ok).length;
  const writer = config.loadedKeys.find(({ role }) => role === 'write');
  if (failed > 0) print(`${failed} of ${verdicts.length} keys failed`);
  if (writer !== undefined && records.length > 0) {
    const bytes = bytesPerObject(records, {
      cluster: config.cluster,
      generation: config.generation,
      writer: writer.name,
    });
    const warning = bytes > WARN_BYTES ? `: more than ${WARN_BYTES}; fewer keys make it less` : '';
    if (failed === 0) print(`every object in etcd grows by ${bytes} bytes${warning}`);
  }
  const differences = against === undefined ? [] : await compare({ config, verdicts }, against);
  for (const difference of differences) print(`differs from ${against ?? ''}: ${difference}`);
  if (against !== undefined && differences.length === 0) print(`${against}: agrees`);
  if (output === 'json') {
    console.log(JSON.stringify({ cluster: config.cluster, keys: verdicts, differences }, undefined, 2));
  }
  return failed === 0 && differences.length === 0;
}

async function tryKeys(
  config: LoadedConfig,
  print: (line: string) => void,
): Promise<{ readonly verdicts: readonly Verdict[]; readonly records: readonly LocalKeyRecord[] }> {
  const { limits } = ringConfig(config);
  const verdicts: Verdict[] = [];
  const records: LocalKeyRecord[] = [];
  for (const key of config.loadedKeys) {
    const noted = new Map<string, string>();
    const backendPackage = describePackage(key.backendPackage);
    const identity = { key: key.name, role: key.role, backend: key.backendName, package: backendPackage };
    let verdict: Omit<Verdict, 'facts'>;
    try {
      const record = await checkKey(key, limits, noteFacts(noted));
      if (key.role !== 'read') records.push(record);
      const text = `ok: wraps and unwraps with ${record.kekId}`;
      verdict = { ...identity, ok: true, kekId: record.kekId, text };
    } catch (error) {
      if (!isBackendError(error)) throw error;
      const mayNotWrap = key.role === 'read' && error.code === 'permission-denied';
      const text = mayNotWrap
        ? 'ok: may not wrap, and need not; whether it unwraps is seen with data only'
        : `FAILED: ${error.code}: ${error.message}`;
      verdict = { ...identity, ok: mayNotWrap, kekId: undefined, text };
    }
    const facts = [...noted.values()];
    verdicts.push({ ...verdict, facts });
    print(`key ${describeKey(key)}: ${verdict.text}`);
    for (const fact of facts) print(`key ${verdict.key}: ${fact}`);
  }
  return { verdicts, records };
}

/** What two nodes of one cluster must agree on and do not. */
async function compare(
  ours: { readonly config: LoadedConfig; readonly verdicts: readonly Verdict[] },
  otherFile: string,
): Promise<readonly string[]> {
  const other = await loadConfig(otherFile);
  const { verdicts: others } = await tryKeys(other, () => undefined);
  const differences: string[] = [];
  for (const setting of ['cluster', 'generation'] as const) {
    const [here, there] = [ours.config[setting], other[setting]];
    if (here !== there) differences.push(`${setting}: ${here} here, ${there} there`);
  }
  const names = new Set([...ours.verdicts, ...others].map(({ key }) => key));
  for (const name of names) {
    const here = ours.verdicts.find(({ key }) => key === name);
    const there = others.find(({ key }) => key === name);
    if (here === undefined || there === undefined) {
      differences.push(`key ${name}: only ${here === undefined ? 'there' : 'here'}`);
      continue;
    }
    for (const part of ['role', 'backend', 'kekId'] as const) {
      if (here[part] !== there[part]) {
        differences.push(`key ${name}: ${part}: ${here[part] ?? 'unknown'} here, ${there[part] ?? 'unknown'} there`);
      }
    }
  }
  return differences;
}

/** Keeps the newest fact of each kind that a backend reports; what fails is thrown as well. */
function noteFacts(noted: Map<string, string>): Observer {
  const nothing = () => undefined;
  return {
    remoteCall: nothing,
    keyChanged: nothing,
    published: nothing,
    alarm: nothing,
    fact(_key, fact) {
      const text = textOf(fact);
      if (text !== undefined) noted.set(fact.kind === 'gauge' ? fact.name : `${fact.kind} ${text}`, text);
    },
  };
}

function textOf(fact: Fact): string | undefined {
  if (fact.kind === 'advice') return `advice: ${fact.text}`;
  if (fact.kind === 'gauge') return `${fact.name}: ${fact.value}`;
  return fact.at === undefined ? undefined : `credential expires ${fact.at.toISOString()}`;
}
