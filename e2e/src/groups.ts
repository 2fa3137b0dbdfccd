import { readdirSync } from 'node:fs';
import path from 'node:path';
import { floorKubernetes, newestKubernetes } from './kubernetes-version.js';

/** The package's folder, from which vitest runs. */
export const e2eRoot = path.resolve(import.meta.dirname, '..');

/** The groups of tests: the folders below `test/`. */
export function groupNames(): string[] {
  return readdirSync(path.join(e2eRoot, 'test'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort();
}

/** Groups that can also run against the account of whoever runs them: the folders below `live/`. */
export function liveGroupNames(): string[] {
  return readdirSync(path.join(e2eRoot, 'live')).sort();
}

/** One run of vitest: some files of a group on one version of Kubernetes. */
export interface Pass {
  readonly kubernetes: string;
  /** Vitest runs the files below it. */
  readonly folder: string;
  /** How many files run at a time. */
  readonly workers: number;
}

/** Groups whose files wait for the API server more than they compute. The others hold big services, or measure. */
const inParallel: ReadonlySet<string> = new Set(['aws', 'azure', 'gcp', 'hsm', 'keys', 'local', 'vault']);

/**
 * What a group consists of: everything on the newest version, then on the oldest supported one what stands in the folder
 * `every-version`, where there is one.
 *
 * @param options.live - the folder of the same name below `live/` instead
 * @param options.kubernetes - everything on this version instead
 * @param options.full - everything on the oldest version too
 */
export function passes(
  group: string,
  options: { readonly kubernetes: string | undefined; readonly full: boolean; readonly live: boolean },
): readonly Pass[] {
  // Needs no cluster, and runs once: each run makes keys in an account.
  if (options.live) return [{ kubernetes: newestKubernetes, folder: `live/${group}/`, workers: 1 }];
  const whole = `test/${group}/`;
  const workers = inParallel.has(group) ? 2 : 1;
  if (options.kubernetes !== undefined) return [{ kubernetes: options.kubernetes, folder: whole, workers }];
  const newest = { kubernetes: newestKubernetes, folder: whole, workers };
  if (options.full) return [newest, { kubernetes: floorKubernetes, folder: whole, workers }];
  const hasEveryVersion = readdirSync(path.join(e2eRoot, whole)).includes('every-version');
  return hasEveryVersion
    ? [newest, { kubernetes: floorKubernetes, folder: `${whole}every-version/`, workers }]
    : [newest];
}

/** Whether the group's tests install our packages from tarballs. */
export function needsPackedPackages(group: string): boolean {
  return group === 'vendor' || group === 'keys';
}
