import type { SecretFile } from './secret-file.js';

/** Something a backend knows and an operator wants to see. It becomes a metric and a line of `sealwax check`. */
export type Fact =
  /** When the credential in use stops working, `undefined` when it does not expire. */
  | { readonly kind: 'credential-expiry'; readonly at: Date | undefined }
  /** A figure of the backend's own. `name` is a metric name's last part: lower case, digits and `_`, unit at its end. */
  | { readonly kind: 'gauge'; readonly name: string; readonly value: number }
  /** Something that works and should be done otherwise. One sentence, no secret. */
  | { readonly kind: 'advice'; readonly text: string };

/** What the server lends to a backend, so that no vendor invents it. */
export interface Host {
  /** Aborts when the backend is to be closed. */
  readonly signal: AbortSignal;
  /** A file that holds a secret; see `SecretFile`. */
  secretFile(path: string): SecretFile;
  /** Tells the operator a fact; the newest of its kind (and name) counts. */
  report(fact: Fact): void;
}
