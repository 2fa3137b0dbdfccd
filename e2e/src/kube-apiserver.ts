import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { cached } from './cache.js';
import { announced, buildArguments, counterparts, go } from './go.js';
import { kubernetesGoMod } from './kubernetes-module.js';
import { Process } from './process.js';

const source = path.join(counterparts, 'kube-apiserver');

/**
 * Path of the kube-apiserver binary of `version`; built when it is not in the cache.
 *
 * Versions without module files in the repository get them made the same way, once, without their hashes being pinned here.
 */
export async function kubeApiserverBinary(version: string): Promise<string> {
  const args = [...buildArguments, '-ldflags', linkerFlags(version)];
  const main = await readFile(path.join(source, 'main.go'));
  const pinned = await pinnedModule(version);
  return cached({
    name: `kube-apiserver-${version}`,
    inputs: [main, ...pinned, args.join(' ')],
    make: async (target, workspace) => {
      const folder = path.join(workspace, 'source');
      await cp(source, folder, { recursive: true });
      const modfile = `versions/${version}.mod`;
      await announced(`building kube-apiserver ${version}`, async () => {
        if (pinned.length === 0) {
          await writeFile(path.join(folder, modfile), await kubernetesGoMod(version, folder));
          await go(['mod', 'tidy', `-modfile=${modfile}`], folder);
        }
        await go([...args, `-modfile=${modfile}`, '-o', target, '.'], folder);
      });
    },
  });
}

/** Without its version the API server calls itself v0.0.0, and feature gates take the wrong defaults. */
function linkerFlags(version: string): string {
  const [major, minor] = version.split('.');
  const stamps = { gitVersion: `v${version}`, gitMajor: major, gitMinor: minor };
  const assignments = Object.entries(stamps).map(
    ([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`,
  );
  return ['-s', '-w', ...assignments].join(' ');
}

/** The checked-in module files of `version`; empty when there are none. */
async function pinnedModule(version: string): Promise<Buffer[]> {
  try {
    return await Promise.all(
      ['mod', 'sum'].map((kind) => readFile(path.join(source, 'versions', `${version}.${kind}`))),
    );
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}

/** Files and addresses of one API server. */
export interface KubeApiserverOptions {
  readonly version: string;
  readonly etcdUrl: string;
  readonly port: number;
  /** Gets the log and, on the first start, the API server's own certificate. */
  readonly directory: string;
  readonly serviceAccountKeyPath: string;
  readonly tokensPath: string;
  readonly encryptionConfigPath: string;
}

/** Where the API server of this directory keeps the certificate that it made for itself. */
export function certificatePath(directory: string): string {
  return path.join(directory, 'certs', 'apiserver.crt');
}

/** Starts kube-apiserver; the caller decides what "ready" means, because without its plugin it never is. */
export async function startKubeApiserver(options: KubeApiserverOptions): Promise<Process> {
  const binary = await kubeApiserverBinary(options.version);
  const certs = path.dirname(certificatePath(options.directory));
  await mkdir(certs, { recursive: true, mode: 0o700 });
  return Process.start({
    name: `kube-apiserver ${options.version}`,
    command: binary,
    args: [
      `--etcd-servers=${options.etcdUrl}`,
      '--bind-address=127.0.0.1',
      // Without these two a machine that has no default route has no address to advertise.
      '--advertise-address=127.0.0.1',
      '--endpoint-reconciler-type=none',
      `--secure-port=${options.port}`,
      `--cert-dir=${certs}`,
      '--service-account-issuer=https://kubernetes.default.svc',
      `--service-account-key-file=${options.serviceAccountKeyPath}`,
      `--service-account-signing-key-file=${options.serviceAccountKeyPath}`,
      '--service-cluster-ip-range=10.0.0.0/24',
      '--authorization-mode=RBAC',
      `--token-auth-file=${options.tokensPath}`,
      '--disable-admission-plugins=ServiceAccount',
      `--encryption-provider-config=${options.encryptionConfigPath}`,
      '--encryption-provider-config-automatic-reload=true',
    ],
    logPath: path.join(options.directory, 'kube-apiserver.log'),
  });
}
