import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { BackendError } from '../src/backend-error.js';
import type { Backend, BackendModule, WrappedKey } from '../src/backend.js';
import type { Host } from '../src/host.js';
import type { RemoteOperation } from '../src/observer.js';

const CIPHER = 'aes-256-gcm';
const NONCE_LENGTH = 12;
const TAG_LENGTH = 16;

interface KekVersion {
  readonly kekId: string;
  readonly kek: Buffer;
}

/** What `wrap` and `unwrap` would answer, and what a fault makes of it. Any type, because a faulty backend keeps to none. */
interface Answers {
  currentKekId?: (kekId: string) => unknown;
  wrap?: (wrapped: WrappedKey) => unknown;
  unwrap?: (plaintext: Uint8Array) => unknown;
}

/**
 * A KMS in memory, with versions, and a backend that speaks to it. It works; `before` and `answers` make it fail, stall or lie.
 */
export class MemoryKms {
  /** Calls that began. */
  readonly calls: Record<RemoteOperation, number> = { open: 0, currentKekId: 0, wrap: 0, unwrap: 0, close: 0 };
  /** Runs before the operation: may throw, or wait. */
  before: Partial<Record<RemoteOperation, (signal: AbortSignal | undefined) => unknown>> = {};
  answers: Answers = {};
  /** The plaintexts that `wrap` was lent, still in the caller's own buffers. */
  readonly lent: Uint8Array[] = [];
  /** The signal of each call of `wrap`, `unwrap` and `currentKekId`. */
  readonly signals: AbortSignal[] = [];
  /** The `Host` that the last `open` got. */
  host: Host | undefined;
  #versions: KekVersion[] = [];
  readonly #destroyed = new Set<string>();
  #current = -1;

  constructor() {
    this.rotate();
  }

  get kekId(): string {
    return this.#version.kekId;
  }

  /** Ends every fault. */
  heal(): void {
    this.before = {};
    this.answers = {};
  }

  get totalCalls(): number {
    return Object.values(this.calls).reduce((sum, count) => sum + count, 0);
  }

  /** Makes a new version, which wraps from now on. */
  rotate(): string {
    const kekId = `memory/v${this.#versions.length + 1}`;
    this.#versions.push({ kekId, kek: randomBytes(32) });
    this.#current = this.#versions.length - 1;
    return kekId;
  }

  /** Lets `kekId` wrap again, or from now on. */
  use(kekId: string): void {
    this.#current = this.#versions.findIndex((version) => version.kekId === kekId);
  }

  /** Replaces the key material of the current version beneath its name. */
  replaceKek(): void {
    this.#versions[this.#current] = { kekId: this.kekId, kek: randomBytes(32) };
  }

  /** Destroys a version; `restore` brings it back. */
  destroy(kekId: string): void {
    this.#destroyed.add(kekId);
  }

  restore(kekId: string): void {
    this.#destroyed.delete(kekId);
  }

  wrapNow(plaintext: Uint8Array): WrappedKey {
    const { kekId, kek } = this.#version;
    const nonce = randomBytes(NONCE_LENGTH);
    const cipher = createCipheriv(CIPHER, kek, nonce, { authTagLength: TAG_LENGTH });
    cipher.setAAD(Buffer.from(kekId));
    return { kekId, ciphertext: Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]) };
  }

  unwrapNow({ kekId, ciphertext }: WrappedKey): Uint8Array {
    const version = this.#versions.find((candidate) => candidate.kekId === kekId);
    if (version === undefined || this.#destroyed.has(kekId))
      throw new BackendError('key-not-found', 'memory: unwrap: no such version');
    const decipher = createDecipheriv(CIPHER, version.kek, ciphertext.subarray(0, NONCE_LENGTH), {
      authTagLength: TAG_LENGTH,
    });
    try {
      decipher.setAAD(Buffer.from(kekId));
      decipher.setAuthTag(ciphertext.subarray(-TAG_LENGTH));
      const plaintext = decipher.update(ciphertext.subarray(NONCE_LENGTH, -TAG_LENGTH));
      decipher.final();
      return Uint8Array.from(plaintext);
    } catch (error) {
      throw new BackendError('invalid-ciphertext', 'memory: unwrap: authentication failed', { cause: error });
    }
  }

  /** The backend, as a package would export it. */
  readonly module: BackendModule<unknown> = {
    apiVersion: 1,
    config: { '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) } },
    open: async (_config, host) => {
      this.host = host;
      await this.#begin('open', host.signal);
      return this.#backend();
    },
  };

  #backend(): Backend {
    return {
      currentKekId: async (signal) => {
        await this.#begin('currentKekId', signal);
        return this.#answer('currentKekId', this.kekId) as string;
      },
      wrap: async (plaintext, signal) => {
        this.lent.push(plaintext);
        await this.#begin('wrap', signal);
        return this.#answer('wrap', this.wrapNow(plaintext)) as WrappedKey;
      },
      unwrap: async (wrapped, signal) => {
        await this.#begin('unwrap', signal);
        return this.#answer('unwrap', this.unwrapNow(wrapped)) as Uint8Array;
      },
      close: async () => {
        await this.#begin('close', undefined);
      },
    };
  }

  get #version(): KekVersion {
    return this.#versions[this.#current]!;
  }

  async #begin(operation: RemoteOperation, signal: AbortSignal | undefined): Promise<void> {
    this.calls[operation] += 1;
    if (signal !== undefined && operation !== 'open') this.signals.push(signal);
    await this.before[operation]?.(signal);
  }

  #answer<Operation extends keyof Answers>(
    operation: Operation,
    good: Parameters<NonNullable<Answers[Operation]>>[0],
  ): unknown {
    const change = this.answers[operation] as ((answer: typeof good) => unknown) | undefined;
    return change === undefined ? good : change(good);
  }
}

/** For `MemoryKms.before`: never answers and ignores its signal, as a backend should not. */
export function stall(): Promise<never> {
  return new Promise(() => undefined);
}

/** For `MemoryKms.before`: fails with anything at all. */
export function rejectWith(reason: unknown): () => Promise<never> {
  // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- a faulty backend does that
  return () => Promise.reject(reason);
}

/** A gate for `MemoryKms.before`: calls wait at it until it is opened. */
export class Gate {
  readonly #opened: Promise<void>;
  open: () => void = () => undefined;

  constructor() {
    this.#opened = new Promise((resolve) => {
      this.open = resolve;
    });
  }

  readonly pass = (): Promise<void> => this.#opened;
}
