/** `npm run pin -- VERSION…`: writes the checked-in module files of these Kubernetes versions anew. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { counterparts, go } from './go.js';
import { kubernetesGoMod } from './kubernetes-module.js';
import { checkKubernetesVersion } from './kubernetes-version.js';

const source = path.join(counterparts, 'kube-apiserver');
for (const version of process.argv.slice(2)) {
  checkKubernetesVersion(version);
  await writeFile(path.join(source, 'versions', `${version}.mod`), await kubernetesGoMod(version, source));
  await go(['mod', 'tidy', `-modfile=versions/${version}.mod`], source);
  console.log(`pinned Kubernetes ${version}`);
}
