import type { Fact } from '@sealwax/core';

/** The newest facts that the backends reported, by key. */
export class Facts {
  readonly #credentialExpiry = new Map<string, Date>();
  readonly #gauges = new Map<string, Map<string, number>>();
  readonly #advice = new Map<string, string>();

  note(key: string, fact: Fact): void {
    switch (fact.kind) {
      case 'credential-expiry':
        if (fact.at === undefined) this.#credentialExpiry.delete(key);
        else this.#credentialExpiry.set(key, fact.at);
        break;
      case 'gauge':
        this.#gauges.set(key, (this.#gauges.get(key) ?? new Map<string, number>()).set(fact.name, fact.value));
        break;
      case 'advice':
        this.#advice.set(key, fact.text);
    }
  }

  /** When the credential of each key stops working, where that is known. */
  get credentialExpiry(): ReadonlyMap<string, Date> {
    return this.#credentialExpiry;
  }

  /** The figures of each key, by their names. */
  get gauges(): ReadonlyMap<string, ReadonlyMap<string, number>> {
    return this.#gauges;
  }

  get advice(): ReadonlyMap<string, string> {
    return this.#advice;
  }
}
