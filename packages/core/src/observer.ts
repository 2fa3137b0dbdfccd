import type { BackendErrorCode } from './backend-error.js';
import type { Fact } from './host.js';

/** The operations that reach a backend. */
export type RemoteOperation = 'open' | 'currentKekId' | 'wrap' | 'unwrap' | 'close';

/** One call of a backend, over. */
export interface RemoteCall {
  /** Name of the key. */
  readonly key: string;
  readonly operation: RemoteOperation;
  readonly code: BackendErrorCode | 'ok';
  readonly durationMs: number;
  /** What the backend threw, its `cause` included. For our own log only. */
  readonly error?: Error;
}

/** A new snapshot. */
export interface Publication {
  readonly previousKeyId: string | undefined;
  readonly annotationLength: number;
  /** What the key id names. */
  readonly records: readonly { readonly keyName: string; readonly kekId: string }[];
}

/** What core tells the server, for metrics and logs. Called synchronously; must not throw. */
export interface Observer {
  remoteCall(call: RemoteCall): void;
  /** A key began to work, or stopped. */
  keyChanged(key: string, change: { readonly state: 'ready' | 'failing'; readonly error?: Error }): void;
  /** Encrypt seals under a new local key from now on. */
  published(keyId: string, change: Publication): void;
  /** Something an operator has to look at. */
  alarm(text: string): void;
  /** A backend reported a fact. */
  fact(key: string, fact: Fact): void;
}
