import type { AzureConfig } from './config.js';

/** learn.microsoft.com/entra/identity-platform/authentication-national-cloud, "Microsoft Entra authentication endpoints". */
const AUTHORITIES: Readonly<Record<AzureConfig['cloud'], string>> = {
  public: 'https://login.microsoftonline.com',
  'us-government': 'https://login.microsoftonline.us',
  china: 'https://login.chinacloudapi.cn',
};

/** Where logins go, and whether the SDK may ask the public cloud whether it knows that authority. */
export function authorityOf({ cloud, authorityHost }: AzureConfig): {
  readonly authorityHost: string;
  readonly disableInstanceDiscovery: boolean;
} {
  // An authority of one's own is unknown to the public cloud by nature, and asking would need a way out of a closed network.
  return { authorityHost: authorityHost ?? AUTHORITIES[cloud], disableInstanceDiscovery: authorityHost !== undefined };
}
