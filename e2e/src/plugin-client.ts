import { Client, credentials, Metadata } from '@grpc/grpc-js';
import {
  decodeDecryptResponse,
  decodeEncryptResponse,
  decodeStatusResponse,
  encodeDecryptRequest,
  encodeEncryptRequest,
  encodeStatusRequest,
  type Sealed,
  type StatusResponse,
} from './kms-wire.js';

/** The API server's default for `kms.timeout`. */
const timeoutMs = 3_000;

/** Talks to a KMS v2 plugin as an API server does; rejects with grpc-js's error, which has the `code`. */
export class PluginClient {
  readonly #client: Client;
  #calls = 0;

  constructor(socketPath: string) {
    this.#client = new Client(`unix:${socketPath}`, credentials.createInsecure(), {
      'grpc.default_authority': 'localhost',
      // Plugins are killed and started again here; the default of a second would be most of the suite's time.
      'grpc.initial_reconnect_backoff_ms': 20,
      'grpc.min_reconnect_backoff_ms': 20,
      'grpc.max_reconnect_backoff_ms': 100,
      // Retries would hide what a single call answers.
      'grpc.enable_retries': 0,
    });
  }

  async status(): Promise<StatusResponse> {
    return decodeStatusResponse(await this.send('Status', encodeStatusRequest()));
  }

  async encrypt(seed: Uint8Array): Promise<Sealed> {
    return decodeEncryptResponse(await this.send('Encrypt', encodeEncryptRequest(seed, this.#uid())));
  }

  async decrypt(sealed: Sealed): Promise<Uint8Array> {
    return decodeDecryptResponse(await this.send('Decrypt', encodeDecryptRequest(sealed, this.#uid())));
  }

  /** Sends `request` as it is, to `method` of the service or to a path of its own ("/package.Service/Method"). */
  async send(method: string, request: Uint8Array): Promise<Uint8Array> {
    const path = method.startsWith('/') ? method : `/v2.KeyManagementService/${method}`;
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        (bytes: Uint8Array) => Buffer.from(bytes),
        (bytes) => new Uint8Array(bytes),
        request,
        new Metadata(),
        { deadline: Date.now() + timeoutMs },
        (error, response) => {
          if (error !== null) reject(error);
          else if (response === undefined) reject(new Error(`${path} answered nothing`));
          else resolve(response);
        },
      );
    });
  }

  close(): void {
    this.#client.close();
  }

  #uid(): string {
    this.#calls += 1;
    return `e2e-${this.#calls}`;
  }
}
