import { createHmac, randomBytes } from 'node:crypto';
import { isBackendError, type SecretFile } from '@sealwax/core';
import type { FromChild } from './protocol.js';

type Login = Extract<FromChild, { told: 'login' }>;

/** A PIN to try, or the reason why none may be. */
export type PinOffer = { readonly pin: Uint8Array } | { readonly withheld: string };

const markKey = randomBytes(32);
/** For the whole life of the process, and not of a backend: a backend that fails is opened anew for ever, and each of them would try once more. */
const rules = new Map<string, PinRule>();

/** The rule of one token and PIN file, shared by all who log in there. */
export function pinRuleFor(place: string, file: SecretFile): PinRule {
  const key = `${place}\0${file.path}`;
  const rule = rules.get(key) ?? new PinRule(file);
  rules.set(key, rule);
  return rule;
}

/**
 * Tokens lock after three to ten wrong PINs, and a plugin that tries again and again would lock them within a minute. So a PIN that was
 * called wrong is never tried again until the file holds another one, and the last try that a token tells of is not ours to
 * spend unless this PIN has been good before.
 */
export class PinRule {
  readonly #file: SecretFile;
  #refused: { readonly mark: string; readonly reason: string } | undefined;
  #good: string | undefined;
  #tried: string | undefined;

  constructor(file: SecretFile) {
    this.#file = file;
  }

  /** @param triesLeft - as the token tells, `null` where it does not */
  async offer(triesLeft: number | null): Promise<PinOffer> {
    let pin: Uint8Array;
    try {
      pin = await this.#read();
    } catch (error) {
      if (!isBackendError(error)) throw error;
      return { withheld: error.message.replace(/^hsm: /, '') };
    }
    const mark = createHmac('sha256', markKey).update(pin).digest('hex');
    const withhold = (withheld: string) => {
      pin.fill(0);
      return { withheld };
    };
    if (this.#refused?.mark === mark) return withhold(this.#refused.reason);
    if (triesLeft === 1 && this.#good !== mark) {
      return withhold(
        'one try is left before the token locks, and it is not spent on a PIN that was never good here; log in once with another tool, which gives the tries back',
      );
    }
    this.#tried = mark;
    return { pin };
  }

  learn({ outcome }: Pick<Login, 'outcome'>): void {
    if (outcome === 'good') {
      this.#good = this.#tried;
      this.#refused = undefined;
    } else if (outcome === 'wrong' && this.#tried !== undefined) {
      const reason = `the token called the PIN in ${this.#file.path} wrong; it is not tried again until the file changes`;
      this.#refused = { mark: this.#tried, reason };
    }
  }

  async #read(): Promise<Uint8Array> {
    const content = await this.#file.read();
    let end = content.length;
    while (end > 0 && (content[end - 1] === 0x0a || content[end - 1] === 0x0d)) end -= 1;
    const pin = Uint8Array.from(content.subarray(0, end));
    content.fill(0);
    return pin;
  }
}
