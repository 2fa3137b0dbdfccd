import type { Fact } from '@sealwax/core';

/** The newest facts that the backend of one key reported. */
export interface KeyFacts {
  /** When the credential stops working, where that is known. */
  credentialExpiry?: Date | undefined;
  /** By their names. */
  readonly gauges: Map<string, number>;
  advice?: string;
}

/** The newest facts that the backends of the keys in force reported. */
export class Facts {
  #byKey = new Map<string, KeyFacts>();

  /** A key that was taken out is ignored: its backend may go on for a while. */
  note(key: string, fact: Fact): void {
    const facts = this.#byKey.get(key);
    if (facts === undefined) return;
    switch (fact.kind) {
      case 'credential-expiry':
        facts.credentialExpiry = fact.at;
        break;
      case 'gauge':
        facts.gauges.set(fact.name, fact.value);
        break;
      case 'advice':
        facts.advice = fact.text;
    }
  }

  /**
   * To be called before the backends of these keys are opened, for the first time or under another config.
   *
   * @returns to be called when the config is refused: what was known before counts again
   */
  beginAnew(keys: readonly string[]): () => void {
    const before = this.#byKey;
    this.#byKey = new Map([...before, ...keys.map((key) => [key, { gauges: new Map<string, number>() }] as const)]);
    return () => {
      this.#byKey = before;
    };
  }

  /** Forgets all other keys. */
  keepOnly(keys: readonly string[]): void {
    this.#byKey = new Map([...this.#byKey].filter(([key]) => keys.includes(key)));
  }

  get byKey(): ReadonlyMap<string, Readonly<KeyFacts>> {
    return this.#byKey;
  }
}
