import type { Backend, Host } from '@sealwax/core';
import type { VaultConfig } from './config.js';
import { login } from './login.js';
import { Session } from './session.js';
import { Transport } from './transport.js';
import { VaultBackend } from './vault-backend.js';
import { VaultClient } from './vault-client.js';

/** See `BackendModule.open`. */
export async function openVault(config: VaultConfig, host: Host): Promise<Backend> {
  const { caFile, certFile, keyFile, serverName, namespace, auth } = config;
  const secure = await host.httpsAgent({ caFile, certFile, keyFile, serverName });
  const transport = new Transport([config.address, ...config.otherAddresses], secure);
  const client = new VaultClient(transport);
  const watching = new AbortController();
  const end = () => {
    watching.abort();
    transport.close();
  };
  host.signal.addEventListener('abort', end, { once: true, signal: watching.signal });
  if (config.kekId === 'version') {
    host.report({
      kind: 'advice',
      text: 'kekId "version" asks for the current version by encrypting 32 zero bytes once a minute, and does not tell a key apart from one that was deleted and made again; "version-and-creation-time" does, and needs `read` on the key.',
    });
  }
  const session = new Session({ login: login({ auth, namespace, client, host }), client, host });
  if (auth.method === 'token') {
    const forget = () => {
      session.forget();
    };
    host.secretFile(auth.tokenFile).onChange(forget, watching.signal);
  }
  return new VaultBackend({ config, client, session, end });
}
