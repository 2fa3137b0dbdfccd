import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { BackendModule } from '@sealwax/core';
import type { Harness } from '@sealwax/core/conformance';
import { FaultProxy } from '../fault-proxy.js';
import { examplePackage, installedPackages } from '../packed-packages.js';
import { strangerAt } from '../stranger.js';
import { HttpKms, type HttpKmsOptions } from './http-kms.js';

/** The example's service behind a fault proxy, for the conformance kit and for tests with a cluster. */
export interface HttpKmsHarness extends Harness {
  readonly kms: HttpKms;
  readonly proxy: FaultProxy;
  /** For `backend` of a config file: the package's name, where to look for it, and its module's path. */
  readonly backend: { readonly packageName: string; readonly directory: string; readonly modulePath: string };
  stop(): Promise<void>;
}

/** @param directory - of its own, for state, certificates and the log */
export async function startHttpKms(directory: string, options: HttpKmsOptions = {}): Promise<HttpKmsHarness> {
  const installed = await installedPackages();
  const modulePath = path.join(installed.directory, 'node_modules', examplePackage, 'dist/backend/index.js');
  const moduleUrl = pathToFileURL(modulePath).href;
  const { backend } = (await import(moduleUrl)) as { backend: BackendModule<unknown> };
  const kms = await HttpKms.start(directory, options);
  const { cert, key, ca } = kms.tls;
  const proxy = await FaultProxy.start({ upstreamPort: kms.port, http: { tls: { cert, key, upstreamCa: ca } } });
  return {
    kms,
    proxy,
    backend: { packageName: examplePackage, directory: installed.directory, modulePath },
    module: backend,
    moduleUrl,
    config: {
      address: `https://localhost:${proxy.port}`,
      caFile: kms.caFile,
      clientId: 'sealwax',
      clientSecretFile: kms.clientSecretFile,
      key: HttpKms.key,
    },
    secrets: [kms.clientSecret],
    faults: {
      rotate: () => kms.operate('rotate'),
      stall: () => proxy.set({ kind: 'black-hole' }),
      outage: () => proxy.set({ kind: 'refuse' }),
      throttle: () => kms.trouble({ quotaPerSecond: 0 }),
      expireCredential: () => kms.trouble({ loginsRefused: true }),
      deny: () => kms.trouble({ denied: true }),
      disable: () => kms.trouble({ disabled: true }),
      deleteKey: () => kms.trouble({ deleted: true }),
      destroyOldVersion: () => kms.operate('destroy-old-versions'),
      replaceKek: () => kms.operate('replace'),
      stranger: strangerAt(proxy),
    },
    async mend() {
      await kms.trouble({});
      await proxy.set({ kind: 'pass' });
    },
    async stop() {
      await proxy.stop();
      await kms.stop();
    },
  };
}
