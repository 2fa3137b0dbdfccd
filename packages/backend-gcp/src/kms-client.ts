import type { protos } from '@google-cloud/kms';
// The package’s entrance loads every service of Cloud KMS and 70 ms of message classes besides; this file alone holds the client.
import { KeyManagementServiceClient } from '@google-cloud/kms/build/src/v1/key_management_service_client.js';
import {
  createBackoffSettings,
  createRetryOptions,
  googleAuthLibrary,
  grpc,
  routingHeader,
  type CallOptions,
} from 'google-gax';
import { BackendError, ConfigError, FileError, readTrustedFile, type Host } from '@sealwax/core';
import type { GcpConfig } from './config.js';

/** Requests and answers of the methods that are used. */
interface Methods {
  readonly getCryptoKey: [protos.google.cloud.kms.v1.IGetCryptoKeyRequest, protos.google.cloud.kms.v1.ICryptoKey];
  readonly encrypt: [protos.google.cloud.kms.v1.IEncryptRequest, protos.google.cloud.kms.v1.IEncryptResponse];
  readonly decrypt: [protos.google.cloud.kms.v1.IDecryptRequest, protos.google.cloud.kms.v1.IDecryptResponse];
}

type Call<Request, Answer> = (
  request: Request,
  options: CallOptions,
) => Promise<readonly [Answer, ...unknown[]]> & { cancel(): void };

// Public; but whoever can write to it decides whom we trust.
const FORBIDDEN_CERTIFICATE_MODE = 0o022;
/** Above what core gives any call, which then ends it. */
const CALL_MS = 60_000;
// An empty list: the default repeats for seconds what failed at once, and `null` makes the client crash.
const NO_RETRY = createRetryOptions([], createBackoffSettings(100, 1, 100, null, null, null, CALL_MS));

/**
 * The client of Cloud KMS, made anew after a call that nobody answered: a connection whose other end is gone would otherwise hold each
 * further call until TCP gives up, a quarter of an hour later.
 */
export class KmsClient {
  readonly #config: GcpConfig;
  readonly #host: Host;
  #connection: Promise<Connection> | undefined;

  constructor(config: GcpConfig, host: Host) {
    this.#config = config;
    this.#host = host;
    const forget = () => {
      this.reconnect();
    };
    if (config.caFile !== undefined) host.secretFile(config.caFile).onChange(forget, host.signal);
  }

  /**
   * Calls a method of the service.
   *
   * Not through the client's own method of that name: that one writes requests, plaintexts included, to its log when the environment
   * asks for it, and hands out a promise that cannot be cancelled.
   *
   * @throws what the client throws
   */
  async call<Name extends keyof Methods>(
    method: Name,
    request: Methods[Name][0] & { readonly name: string },
    { authorization, signal }: { readonly authorization: string; readonly signal: AbortSignal },
  ): Promise<Methods[Name][1]> {
    const connection = await (this.#connection ??= this.#connect());
    const headers = { authorization, 'x-goog-request-params': routingHeader.fromParams({ name: request.name }) };
    return connection.use(async (client) => {
      await client.initialize();
      const call = client.innerApiCalls[method] as Call<Methods[Name][0], Methods[Name][1]>;
      signal.throwIfAborted();
      const answer = call(request, { retry: NO_RETRY, timeout: CALL_MS, otherArgs: { headers } });
      const cancel = () => {
        answer.cancel();
      };
      signal.addEventListener('abort', cancel, { once: true });
      try {
        return (await answer)[0];
      } finally {
        signal.removeEventListener('abort', cancel);
      }
    });
  }

  /** The next call makes a new connection; those under way keep theirs. */
  reconnect(): void {
    this.#connection?.then(
      (connection) => {
        connection.retire();
      },
      () => undefined,
    );
    this.#connection = undefined;
  }

  async #connect(): Promise<Connection> {
    try {
      return new Connection(await clientOptions(this.#config, this.#host));
    } catch (error) {
      this.#connection = undefined;
      throw error;
    }
  }
}

type ClientOptions = NonNullable<ConstructorParameters<typeof KeyManagementServiceClient>[0]>;

/** One client, closed when it is retired and its last call has ended. */
class Connection {
  readonly #client: KeyManagementServiceClient;
  #calls = 0;
  #retired = false;

  constructor(options: ClientOptions) {
    this.#client = new KeyManagementServiceClient(options);
  }

  async use<T>(call: (client: KeyManagementServiceClient) => Promise<T>): Promise<T> {
    this.#calls += 1;
    try {
      return await call(this.#client);
    } finally {
      this.#calls -= 1;
      this.#closeWhenIdle();
    }
  }

  retire(): void {
    this.#retired = true;
    this.#closeWhenIdle();
  }

  #closeWhenIdle(): void {
    if (this.#retired && this.#calls === 0) void this.#client.close();
  }
}

async function clientOptions(config: GcpConfig, host: Host): Promise<ClientOptions> {
  const { universeDomain, endpoint = `cloudkms.${universeDomain}`, serverName, caFile } = config;
  const [hostname = endpoint, port = '443'] = endpoint.split(':');
  const proxy = host.proxyFor(`https://${hostname}:${port}`);
  if (proxy !== undefined && proxy.protocol !== 'http:') {
    throw new ConfigError('', 'HTTPS_PROXY names a proxy that is not reached by http://, which gRPC cannot use');
  }
  const name = serverName ?? hostname;
  // Calls carry their token with them, so the client has nobody to ask for one: with another kind of credential it would look for a
  // metadata server, whatever the config says.
  const authClient = new googleAuthLibrary.PassThroughClient();
  authClient.universeDomain = universeDomain;
  const credentials = proxy?.username === '' || proxy === undefined ? undefined : decodedLogin(proxy);
  return {
    authClient,
    universeDomain,
    servicePath: proxy?.hostname ?? hostname,
    port: Number(proxy === undefined ? port : proxy.port || '80'),
    sslCreds: grpc.credentials.createSsl(caFile === undefined ? null : await readCertificates(caFile)),
    'grpc.default_authority': name,
    'grpc.ssl_target_name_override': name,
    // Where there is a proxy, `proxyFor` has named it; grpc-js reads other variables than all the rest.
    'grpc.enable_http_proxy': 0,
    ...(proxy !== undefined && { 'grpc.http_connect_target': `dns:${hostname}:${port}` }),
    ...(credentials !== undefined && { 'grpc.http_connect_creds': credentials }),
    // Connections shared with another client would share its pauses after a failure.
    'grpc.use_local_subchannel_pool': 1,
    'grpc.service_config_disable_resolution': 1,
    'grpc.enable_retries': 0,
  };
}

function decodedLogin({ username, password }: URL): string {
  return `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
}

async function readCertificates(file: string): Promise<Buffer> {
  try {
    return Buffer.from(await readTrustedFile(file, FORBIDDEN_CERTIFICATE_MODE));
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    throw new BackendError('unauthenticated', `gcp: read certificates: ${error.message}`, { cause: error });
  }
}
