import { randomInt } from 'node:crypto';

/** Numbers that look random and are the same for the same seed on every machine. */
export class SeededRandom {
  readonly seed: number;
  #state: number;

  constructor(seed: number) {
    this.seed = seed;
    this.#state = seed >>> 0;
  }

  /** With the seed from the environment variable `name`, else a fresh one; says which, so that a failure can be repeated. */
  static announced(name: string): SeededRandom {
    const given = process.env[name];
    const random = new SeededRandom(given === undefined ? randomInt(2 ** 32) : Number(given));
    console.log(`${name}=${random.seed}`);
    return random;
  }

  /** 0 to `limit` − 1. */
  below(limit: number): number {
    // mulberry32: small, and good enough to choose inputs.
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256));
  }

  pick<T>(choices: readonly [T, ...T[]]): T {
    return choices[this.below(choices.length)] ?? choices[0];
  }
}
