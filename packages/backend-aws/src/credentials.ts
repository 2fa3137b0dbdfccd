import { BackendError, type Host } from '@sealwax/core';
import type { fromTemporaryCredentials } from '@aws-sdk/credential-providers';
import { silent, type ClientOptions } from './client-options.js';
import type { Auth, SourceAuth } from './config.js';
import type { CredentialSource } from './login.js';

// Stands for a shared file that the config does not name: the SDK would look for it in the home directory.
const NO_FILE = '/dev/null';
const METADATA_TIMEOUT_MS = 1_000;

/** How the clients of STS are made. */
interface StsOptions extends ClientOptions {
  readonly region: string;
  readonly endpoint?: string;
}

interface CredentialSourceOptions {
  readonly sts: StsOptions;
  readonly host: Host;
}

/**
 * What fetches the credentials that `auth` asks for.
 *
 * Each fetch makes its provider anew: those of the SDK remember, and would hold a key that was replaced in its file. The SDK's providers are loaded
 * when the first one is needed.
 */
export function credentialSource(auth: Auth, options: CredentialSourceOptions): CredentialSource {
  if (auth.method !== 'assume-role') return directSource(auth, options);
  return auth.roles.reduce<CredentialSource>(
    (source, role) => assumedRole(source, role, options.sts),
    directSource(auth.source, options),
  );
}

function directSource(auth: SourceAuth, { sts, host }: CredentialSourceOptions): CredentialSource {
  const text = async (path: string) => {
    const bytes = await host.secretFile(path).read();
    const content = Buffer.from(bytes).toString('utf8').trim();
    bytes.fill(0);
    if (content === '') throw new BackendError('unauthenticated', `aws: read secret file: ${path}: the file is empty`);
    return content;
  };
  switch (auth.method) {
    case 'files':
      return async () => ({
        accessKeyId: await text(auth.accessKeyIdFile),
        secretAccessKey: await text(auth.secretAccessKeyFile),
        ...(auth.sessionTokenFile !== undefined && { sessionToken: await text(auth.sessionTokenFile) }),
      });
    case 'profile':
      return async () => {
        const { profile, credentialsFile: filepath = NO_FILE, configFile: configFilepath = NO_FILE } = auth;
        // The SDK reads them by itself and trusts whoever wrote them; a `credential_process` is a command that we run.
        for (const path of [filepath, configFilepath]) if (path !== NO_FILE) await text(path);
        const { fromIni } = await import('@aws-sdk/credential-providers');
        const options = {
          clientConfig: sts,
          parentClientConfig: { region: sts.region, requestHandler: sts.requestHandler },
          logger: silent,
        };
        return fromIni({ profile, filepath, configFilepath, ignoreCache: true, ...options })();
      };
    case 'web-identity':
      return async () => {
        const { roleArn, sessionName: roleSessionName, durationSeconds } = auth;
        const webIdentityToken = await text(auth.tokenFile);
        const { fromWebToken } = await import('@aws-sdk/credential-providers');
        const options = { clientConfig: sts, logger: silent };
        return fromWebToken({ roleArn, roleSessionName, durationSeconds, webIdentityToken, ...options })();
      };
    case 'instance':
      return async () => {
        const { fromInstanceMetadata } = await import('@aws-sdk/credential-providers');
        return fromInstanceMetadata({
          timeout: METADATA_TIMEOUT_MS,
          maxRetries: 1,
          ec2MetadataV1Disabled: true,
          logger: silent,
        })();
      };
    case 'container':
      return async () => {
        const { fromHttp } = await import('@aws-sdk/credential-providers');
        return fromHttp({
          timeout: METADATA_TIMEOUT_MS,
          maxRetries: 1,
          logger: silent,
          ...(auth.uri !== undefined && { awsContainerCredentialsFullUri: auth.uri }),
          ...(auth.tokenFile !== undefined && { awsContainerAuthorizationTokenFile: auth.tokenFile }),
        })();
      };
    case 'chain':
      return async () => {
        const { fromNodeProviderChain } = await import('@aws-sdk/credential-providers');
        const options = {
          clientConfig: sts,
          parentClientConfig: { region: sts.region, requestHandler: sts.requestHandler },
          logger: silent,
        };
        return fromNodeProviderChain({ ignoreCache: true, ...options })();
      };
  }
}

type Role = Extract<Auth, { readonly method: 'assume-role' }>['roles'][number];

function assumedRole(source: CredentialSource, role: Role, sts: StsOptions): CredentialSource {
  return async () => {
    const { fromTemporaryCredentials } = await import('@aws-sdk/credential-providers');
    const masterCredentials = await source();
    return fromTemporaryCredentials({
      masterCredentials,
      params: {
        RoleArn: role.roleArn,
        RoleSessionName: role.sessionName,
        DurationSeconds: role.durationSeconds,
        ...(role.externalId !== undefined && { ExternalId: role.externalId }),
      },
      clientConfig: sts,
      clientPlugins: [sourceHeaders(role)],
      logger: silent,
    })();
  };
}

type Plugin = NonNullable<Parameters<typeof fromTemporaryCredentials>[0]['clientPlugins']>[number];

/** Says in whose name the role is assumed, so that its trust policy can name that cluster alone. Before the signature, which covers them. */
function sourceHeaders({ sourceArn, sourceAccount }: Role): Plugin {
  const headers = {
    ...(sourceArn !== undefined && { 'x-amz-source-arn': sourceArn }),
    ...(sourceAccount !== undefined && { 'x-amz-source-account': sourceAccount }),
  };
  return {
    applyToStack: (stack) => {
      stack.add(
        (next) => (args) => {
          const { request } = args;
          if (hasHeaders(request)) Object.assign(request.headers, headers);
          return next(args);
        },
        { step: 'build', name: 'sealwaxSource' },
      );
    },
  };
}

function hasHeaders(request: unknown): request is { readonly headers: object } {
  return typeof request === 'object' && request !== null && 'headers' in request && typeof request.headers === 'object';
}
