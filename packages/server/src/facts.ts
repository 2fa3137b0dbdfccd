import type { Fact } from '@sealwax/core';

/** The newest facts that the backends reported, by key. */
export class Facts {
  readonly #credentialExpiry = new Map<string, Date>();
  readonly #advice = new Map<string, string>();

  note(key: string, fact: Fact): void {
    if (fact.kind === 'advice') this.#advice.set(key, fact.text);
    if (fact.kind !== 'credential-expiry') return;
    if (fact.at === undefined) this.#credentialExpiry.delete(key);
    else this.#credentialExpiry.set(key, fact.at);
  }

  /** When the credential of `key` stops working, if that is known. */
  credentialExpiry(key: string): Date | undefined {
    return this.#credentialExpiry.get(key);
  }

  advice(key: string): string | undefined {
    return this.#advice.get(key);
  }
}
