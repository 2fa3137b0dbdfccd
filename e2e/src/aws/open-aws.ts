import { backend, type AwsConfig } from '@sealwax/backend-aws';
import type { Backend, Fact } from '@sealwax/core';
import { lendHost } from '@sealwax/core/conformance';
import { onTestFinished } from 'vitest';

interface OpenAwsOptions {
  /** Shorter sessions than the config allows: AWS takes no less than 15 minutes. */
  readonly sessionSeconds?: number;
}

/** Opens the backend for the test that runs, and closes it afterwards. */
export async function openAws(
  config: Readonly<Record<string, unknown>>,
  { sessionSeconds }: OpenAwsOptions = {},
): Promise<{ readonly aws: Backend; readonly facts: readonly Fact[] }> {
  const checked = await backend.config['~standard'].validate(config);
  if (checked.issues !== undefined) throw new Error(checked.issues.map(({ message }) => message).join('; '));
  const life = new AbortController();
  const facts: Fact[] = [];
  const host = lendHost('aws', (fact) => facts.push(fact), life.signal);
  const aws = await backend.open(
    sessionSeconds === undefined ? checked.value : shortened(checked.value, sessionSeconds),
    host,
  );
  onTestFinished(async () => {
    life.abort();
    await aws.close();
  });
  return { aws, facts };
}

function shortened(config: AwsConfig, durationSeconds: number): AwsConfig {
  const { auth } = config;
  if (auth.method === 'assume-role')
    return { ...config, auth: { ...auth, roles: auth.roles.map((role) => ({ ...role, durationSeconds })) } };
  return auth.method === 'web-identity' ? { ...config, auth: { ...auth, durationSeconds } } : config;
}

/** Wraps and unwraps random bytes. */
export async function roundTrip(aws: Backend): Promise<void> {
  const { signal } = new AbortController();
  const localKey = crypto.getRandomValues(new Uint8Array(32));
  const unwrapped = await aws.unwrap(await aws.wrap(localKey, signal), signal);
  if (Buffer.compare(unwrapped, localKey) !== 0) throw new Error('unwrap returned other bytes than were wrapped');
}
