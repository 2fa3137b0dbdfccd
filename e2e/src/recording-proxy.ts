import { Server, ServerCredentials, status, type handleUnaryCall } from '@grpc/grpc-js';
import { PluginClient } from './plugin-client.js';

/** One RPC that went through. */
export interface RecordedRpc {
  readonly method: string;
  /** Absent when the plugin answered with an error. */
  readonly response: Uint8Array | undefined;
}

const methods = ['Status', 'Encrypt', 'Decrypt'] as const;

/** Stands between API server and plugin, passes bytes on unchanged, and keeps the order in which answers left. */
export class RecordingProxy {
  readonly #server: Server;
  readonly #plugin: PluginClient;
  readonly #answered: RecordedRpc[] = [];

  private constructor(server: Server, plugin: PluginClient) {
    this.#server = server;
    this.#plugin = plugin;
  }

  static async start(options: {
    readonly socketPath: string;
    readonly pluginSocketPath: string;
  }): Promise<RecordingProxy> {
    const plugin = new PluginClient(options.pluginSocketPath);
    const server = new Server();
    const proxy = new RecordingProxy(server, plugin);
    const identity = (bytes: Uint8Array): Buffer => Buffer.from(bytes);
    const definition = methods.map((method) => ({
      method,
      path: `/v2.KeyManagementService/${method}`,
      requestStream: false,
      responseStream: false,
      requestSerialize: identity,
      requestDeserialize: identity,
      responseSerialize: identity,
      responseDeserialize: identity,
    }));
    server.addService(
      Object.fromEntries(definition.map((method) => [method.method, method])),
      Object.fromEntries(methods.map((method) => [method, proxy.#forward(method)])),
    );
    await new Promise<void>((resolve, reject) => {
      server.bindAsync(`unix:${options.socketPath}`, ServerCredentials.createInsecure(), (error) => {
        if (error === null) resolve();
        else reject(error);
      });
    });
    return proxy;
  }

  /** What was answered so far, oldest first. */
  get answered(): readonly RecordedRpc[] {
    return this.#answered;
  }

  stop(): void {
    this.#server.forceShutdown();
    this.#plugin.close();
  }

  #forward(method: string): handleUnaryCall<Uint8Array, Uint8Array> {
    return (call, answer) => {
      this.#plugin.send(method, call.request).then(
        (response) => {
          this.#answered.push({ method, response });
          answer(null, response);
        },
        (error: unknown) => {
          this.#answered.push({ method, response: undefined });
          answer(error instanceof Error ? error : { code: status.INTERNAL, details: String(error) });
        },
      );
    };
  }
}
