import { BackendError, type Backend, type WrappedKey } from '@sealwax/core';
import type { HsmConfig } from './config.js';
import type { Supervisor } from './supervisor.js';

/**
 * Wraps with a key of a PKCS #11 token, whose module runs in a process of its own.
 *
 * A wrapped key is one byte for the mechanism (and hash) ‖ what the mechanism makes; see `child/scheme.ts`.
 */
export class HsmBackend implements Backend {
  readonly #supervisor: Supervisor;
  readonly #key: string;

  constructor({ key }: HsmConfig, supervisor: Supervisor) {
    this.#supervisor = supervisor;
    this.#key = [key.label, key.id].filter((part) => part !== undefined).join('/');
  }

  async currentKekId(signal: AbortSignal): Promise<string> {
    const doing = `hsm: read the current version of ${this.#key}`;
    const { value } = await this.#supervisor.call({ call: 'currentKekId' }, { doing, signal });
    return text(value, doing);
  }

  async wrap(plaintext: Uint8Array, signal: AbortSignal): Promise<WrappedKey> {
    const doing = `hsm: wrap with ${this.#key}`;
    // A copy, because a call that is given up goes on, and the caller may use his bytes again.
    const copy = Uint8Array.from(plaintext);
    try {
      const { value, bytes } = await this.#supervisor.call({ call: 'wrap' }, { bytes: copy, doing, signal });
      return { kekId: text(value, doing), ciphertext: bytes };
    } finally {
      copy.fill(0);
    }
  }

  async unwrap({ kekId, ciphertext }: WrappedKey, signal: AbortSignal): Promise<Uint8Array> {
    const doing = `hsm: unwrap with ${this.#key}`;
    const { bytes } = await this.#supervisor.call({ call: 'unwrap', kekId }, { bytes: ciphertext, doing, signal });
    return bytes;
  }

  async close(): Promise<void> {
    await this.#supervisor.close();
  }
}

function text(value: unknown, doing: string): string {
  if (typeof value === 'string') return value;
  throw new BackendError('internal', `${doing}: the module’s process sent no KEK id`);
}
