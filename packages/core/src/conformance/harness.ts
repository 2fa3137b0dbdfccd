import type { BackendModule } from '../backend.js';

/**
 * Does something to the service under test, as an operator or a mishap would: or, as a text, says why this service cannot do so.
 *
 * A case that needs a fault which the service cannot do is skipped with that text as its reason.
 */
export type Fault = (() => Promise<void>) | string;

/** What can befall a KMS. Each but `rotate`, `replaceKek` and `destroyOldVersion` lasts until `mend`. */
export interface Faults {
  /**
   * Makes a new KEK version, which wraps from now on; the older ones still unwrap. Resolves when every request sees it.
   * All cases together rotate six times: some services allow no more than ten.
   */
  readonly rotate: Fault;
  /** Requests are taken and never answered. */
  readonly stall: Fault;
  /** The service is gone: connections are refused or reset. */
  readonly outage: Fault;
  /** The service answers that it is overloaded. */
  readonly throttle: Fault;
  /** The credential in use stops working for good, and a new one is not to be had until `mend`. */
  readonly expireCredential: Fault;
  /** The login works and every right on the key is gone. */
  readonly deny: Fault;
  /** The key is switched off. */
  readonly disable: Fault;
  /** The key is gone, and may be made anew by whoever asks for that; `mend` brings it back or makes another. */
  readonly deleteKey: Fault;
  /** Every version but the current one is destroyed for good. */
  readonly destroyOldVersion: Fault;
  /** Another KEK stands beneath the same name from now on, and what the old one wrapped cannot be unwrapped. */
  readonly replaceKek: Fault;
}

/** Faults that a harness may leave out; their cases are then skipped. */
export interface OptionalFaults {
  /**
   * Something on the way, such as a firewall or a load balancer, answers in place of the service: with a page of its own, and with statuses
   * that the service has, too. Called twice before `mend`: every answer is a 403 after the first call, a 404 after the next.
   */
  readonly stranger?: Fault;
}

/** Any fault that a harness may have. */
export type FaultName = keyof Faults | keyof OptionalFaults;

/** The service under test, its backend, and the ways to break it. */
export interface Harness {
  /** What the package exports as `backend`. */
  readonly module: BackendModule<unknown>;
  /** The key's `config` section as it stands in the config file; checked by `module.config`. */
  readonly config: unknown;
  /**
   * Where another process imports `module` from: a `file:` URL or an absolute path of JavaScript that node runs as it is,
   * for instance `import.meta.resolve('sealwax-backend-acme')`. Without it, the cases that need another process are skipped.
   */
  readonly moduleUrl?: string;
  /**
   * Secrets that must appear in no message: tokens, PINs, passwords, each of 8 random characters or more. Read at each use: a list that grows,
   * or a getter, names those that `mend` makes.
   */
  readonly secrets: readonly string[];
  readonly faults: Faults & OptionalFaults;
  /**
   * Ends what `faults` did, so that the backend works again without being opened anew. An expired credential should stay so, and a new one
   * take its place where `config` says, as an operator would put it there: a backend that keeps what it read once is not found otherwise.
   */
  mend(): Promise<void>;
}
