import type { GcpConfig } from './config.js';

// cloud.google.com/kms/docs/resource-hierarchy, "Retrieving a resource ID": versions are numbered from 1.
const VERSION = /^[1-9][0-9]{0,18}$/;

/** Whether `kekId` names a version of the configured key: a stored id must not steer a request to another key. */
export function isVersionOf(kekId: string, { key }: GcpConfig): boolean {
  const prefix = `${key}/cryptoKeyVersions/`;
  return kekId.startsWith(prefix) && VERSION.test(kekId.slice(prefix.length));
}
