import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { go } from './go.js';

const downloaded = z.object({ GoMod: z.string() });

/**
 * The go.mod, before `go mod tidy`, of a program that imports kube-apiserver `version` ("1.37.2").
 *
 * The published go.mod of k8s.io/kubernetes requires its staging modules at v0.0.0 and replaces them by folders that its module zip does
 * not hold; the same modules are published under v0.MINOR.PATCH. Only a main module's replacements, Go version and GODEBUG defaults
 * count, so that they are repeated here.
 */
export async function kubernetesGoMod(version: string, cwd: string): Promise<string> {
  const answer: unknown = JSON.parse(await go(['mod', 'download', '-json', `k8s.io/kubernetes@v${version}`], cwd));
  const published = await readFile(downloaded.parse(answer).GoMod, 'utf8');
  const goVersion = /^go \S+$/m.exec(published)?.[0];
  const staging = [...published.matchAll(/^\s*(?:replace )?(\S+) => \.\/staging\/\S+$/gm)].map(([, name]) => name);
  if (goVersion === undefined || staging.length === 0)
    throw new Error(`the go.mod of Kubernetes ${version} has another shape`);
  const godebug = /^godebug (?:\([^)]*\)|\S.*)$/m.exec(published)?.[0];
  const stagingVersion = `v0${version.slice(version.indexOf('.'))}`;
  return [
    'module sealwax.internal/kube-apiserver',
    goVersion,
    ...(godebug === undefined ? [] : [godebug]),
    `require (\n\tk8s.io/component-base ${stagingVersion}\n\tk8s.io/kubernetes v${version}\n)`,
    `replace (\n${staging.map((name) => `\t${name} => ${name} ${stagingVersion}`).join('\n')}\n)`,
    '',
  ].join('\n\n');
}
