import { createHmac, randomBytes } from 'node:crypto';
import { isBackendError, type SecretFile } from '@sealwax/core';
import type { FromChild } from './protocol.js';

/** What came of a login, and the tries that are left, as the token tells; `null` where it does not. */
type Outcome = Pick<Extract<FromChild, { told: 'login' }>, 'outcome' | 'triesLeft'>;

/** A PIN to try, with where to say what came of it, or the reason why none may be. */
export type PinOffer =
  { readonly pin: Uint8Array; readonly learn: (login: Outcome) => void } | { readonly withheld: string };

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
 * spend unless this PIN has been good before. Until a PIN has been good it is tried by one at a time: keys of one token are opened at the same time.
 */
export class PinRule {
  readonly #file: SecretFile;
  #refused: { readonly mark: string; readonly reason: string } | undefined;
  #good: string | undefined;
  /** While a PIN that was never good is tried: settles when that is over, with the tries that are left. */
  #trial: Promise<number | null> | undefined;

  constructor(file: SecretFile) {
    this.#file = file;
  }

  /**
   * @param triesLeft - as the token tells, `null` where it does not
   * @param ended - settles when whoever asks is gone and will not say what came of it
   */
  async offer(triesLeft: number | null, ended: Promise<unknown>): Promise<PinOffer> {
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
    const wasGood = this.#good === mark;
    if (this.#refused?.mark === mark) return withhold(this.#refused.reason);
    if (triesLeft === 1 && !wasGood) {
      return withhold(
        'one try is left before the token locks, and it is not spent on a PIN that was never good here; log in once with another tool, which gives the tries back',
      );
    }
    if (this.#trial !== undefined && !wasGood) {
      pin.fill(0);
      // From the beginning: the file may hold another PIN by then.
      return this.offer((await this.#trial) ?? triesLeft, ended);
    }
    return { pin, learn: this.#begin(mark, ended) };
  }

  /** @returns `learn` of the offer */
  #begin(mark: string, ended: Promise<unknown>): (login: Outcome) => void {
    let end: (triesLeft: number | null) => void = () => undefined;
    if (this.#good !== mark) {
      this.#trial = new Promise((resolve) => {
        end = resolve;
      });
      void this.#trial.then(() => {
        this.#trial = undefined;
      });
      void ended.then(() => {
        end(null);
      });
    }
    return ({ outcome, triesLeft }) => {
      if (outcome === 'good') {
        this.#good = mark;
        this.#refused = undefined;
      } else if (outcome === 'wrong') {
        const reason = `the token called the PIN in ${this.#file.path} wrong; it is not tried again until the file changes`;
        this.#refused = { mark, reason };
      }
      end(triesLeft);
    };
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
