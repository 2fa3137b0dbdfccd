import type { AzureConfig } from './config.js';

// Key Vault makes versions of 32 hexadecimal digits: learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates, "Object identifiers".
const VERSION = /^[0-9a-f]{32}$/;

/** The full id of one version of the configured key: what stands in every record. */
export function kekIdOf({ vault, key }: AzureConfig, version: string): string {
  return `${vault}/keys/${key}/${version}`;
}

/**
 * The version that `kekId` names, `undefined` when it names none of the configured key: a stored id must not steer a request to another
 * vault or key.
 *
 * Hosts and key names do not depend on case (same page, "Vault-name and Object-name"), so an id that the config spells otherwise is the same.
 */
export function versionIn(kekId: string, config: AzureConfig): string | undefined {
  const prefix = kekIdOf(config, '');
  const version = kekId.slice(prefix.length);
  if (kekId.slice(0, prefix.length).toLowerCase() !== prefix.toLowerCase() || !VERSION.test(version)) return undefined;
  return version;
}
