import type { BackendModule } from '@sealwax/core';
import { awsConfig, type AwsConfig } from './config.js';

export type { AwsConfig } from './config.js';

/** AWS KMS: the KEK is a symmetric encryption key, its versions are its key materials. */
export const backend: BackendModule<AwsConfig> = {
  apiVersion: 1,
  config: awsConfig,
  async open(config, host) {
    // The SDK is loaded only when it is used: `sealwax check` of a file, and its schema, need none of it.
    const { openAws } = await import('./open-aws.js');
    return openAws(config, host);
  },
};
