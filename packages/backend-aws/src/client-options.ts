import type { KMSClientConfig } from '@aws-sdk/client-kms';
import type { Host } from '@sealwax/core';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import type { AwsConfig } from './config.js';

const CONNECT_MS = 3_000;
/** Of one request; the caller's signal usually ends it sooner. */
const REQUEST_MS = 10_000;

/** What the clients of KMS and STS have in common. */
export type ClientOptions = Awaited<ReturnType<typeof clientOptions>>;

/**
 * Everything that the SDK would otherwise look for in the environment or in shared files is said here: endpoints, retries, defaults. Only
 * credentials may come from there, and only if the config asks.
 */
export async function clientOptions({ caFile, fips, dualStack }: AwsConfig, host: Host) {
  const requestHandler = new NodeHttpHandler({
    httpsAgent: await host.httpsAgent({ caFile }),
    connectionTimeout: CONNECT_MS,
    requestTimeout: REQUEST_MS,
    // Without it, a timeout is no more than a warning.
    throwOnRequestTimeout: true,
    logger: silent,
  });
  return {
    requestHandler,
    useFipsEndpoint: fips,
    useDualstackEndpoint: dualStack,
    ignoreConfiguredEndpointUrls: true,
    defaultsMode: 'standard',
    maxAttempts: 2,
    retryStrategy: onceAfterReset,
    authSchemePreference: [],
    userAgentAppId: 'sealwax',
    logger: silent,
  } as const satisfies KMSClientConfig;
}

/** The SDK would warn on the console. What matters is thrown or reported. */
export const silent: NonNullable<KMSClientConfig['logger']> = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/**
 * One more attempt, at once, where the connection ended without an answer: between two probes KMS closes connections that we think are open.
 * Throttling, timeouts and everything else are core's: two that repeat would multiply.
 */
const onceAfterReset: NonNullable<KMSClientConfig['retryStrategy']> = {
  acquireInitialRetryToken: () => Promise.resolve(attempt(0)),
  refreshRetryTokenForRetry: (token, { error }) => {
    const isReset = error !== undefined && 'code' in error && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
    return token.getRetryCount() === 0 && isReset
      ? Promise.resolve(attempt(1))
      : Promise.reject(new Error('not to be repeated'));
  },
  recordSuccess: () => undefined,
};

function attempt(count: number) {
  return { getRetryCount: () => count, getRetryDelay: () => 0 };
}
