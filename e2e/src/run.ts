/** `npm run e2e`: runs groups of end-to-end tests. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { etcdBinary } from './etcd.js';
import { groupNames, liveGroupNames, needsPackedPackages, passes } from './groups.js';
import { kubeApiserverBinary } from './kube-apiserver.js';
import { checkKubernetesVersion } from './kubernetes-version.js';
import { installedPackages } from './packed-packages.js';
import { runPass, sayFailed, type Verdict } from './vitest-pass.js';

const usage = `npm run e2e -- [--only GROUP]… [--kubernetes VERSION] [--full]
  --only GROUP          one group: ${groupNames().join(', ')} (default: all)
  --kubernetes VERSION  everything on this version, such as 1.36.3
  --full                everything on every version and at full length, not only what each must prove
  --live                with --only, instead of all that: against your own account (${liveGroupNames().join(', ')}); creates keys, and says which`;

function readOptions(): {
  readonly groups: readonly string[];
  readonly kubernetes: string | undefined;
  readonly full: boolean;
  readonly live: boolean;
} {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', multiple: true, default: [] },
      kubernetes: { type: 'string' },
      full: { type: 'boolean', default: false },
      live: { type: 'boolean', default: false },
    },
  });
  const { live } = values;
  const known = live ? liveGroupNames() : groupNames();
  if (live && values.only.length === 0) throw new RangeError('--live makes keys in an account: name it with --only');
  for (const name of values.only) {
    if (!known.includes(name)) throw new RangeError(`no group ${name}; there are: ${known.join(', ')}`);
  }
  if (values.kubernetes !== undefined) checkKubernetesVersion(values.kubernetes);
  return {
    groups: values.only.length > 0 ? values.only : known,
    kubernetes: values.kubernetes,
    full: values.full,
    live,
  };
}

/** Runs the group in a directory that is removed when everything passed. */
async function runGroup(group: string, options: ReturnType<typeof readOptions>): Promise<Verdict> {
  // For tests that have a longer form.
  if (options.full) process.env['SEALWAX_E2E_FULL'] = '1';
  const directory = await mkdtemp(path.join(tmpdir(), 'sealwax-e2e-'));
  let passed = 0;
  let failed = 0;
  for (const pass of passes(group, options)) {
    console.log(`\n${group} on Kubernetes ${pass.kubernetes}`);
    const startedAt = Date.now();
    let verdict: Verdict;
    try {
      if (!options.live) {
        // Before vitest, whose timeouts are for tests and not for compilers.
        await etcdBinary();
        await kubeApiserverBinary(pass.kubernetes);
        if (needsPackedPackages(group)) await installedPackages();
      }
      verdict = await runPass(pass, path.join(directory, pass.kubernetes));
    } catch (error) {
      console.error(error);
      sayFailed(group, String(error));
      verdict = { passed: 0, failed: 1 };
    }
    console.log(`${group} on Kubernetes ${pass.kubernetes}: ${Math.round((Date.now() - startedAt) / 1000)} s`);
    passed += verdict.passed;
    failed += verdict.failed;
  }
  if (failed === 0) await rm(directory, { recursive: true, force: true });
  else console.log(`logs and data of the failed group: ${directory}`);
  return { passed, failed };
}

let options: ReturnType<typeof readOptions>;
try {
  options = readOptions();
} catch (error) {
  console.error(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`);
  process.exit(2);
}
for (const group of options.groups) {
  const { passed, failed } = await runGroup(group, options);
  console.log(`${passed} passed, ${failed} failed`);
  if (failed > 0 || passed === 0) process.exitCode = 1;
}
