import { setTimeout as delay } from 'node:timers/promises';
import type { KubeClient } from './kube-client.js';

const writers = 4;
/** Of each writer between two writes: up to a hundred writes a second, few enough to read and write them all again afterwards. */
const pauseMs = 40;

/** Secrets written one after another, each with a value of its own, until `stop`. */
export class WriteLoad {
  readonly #client: KubeClient;
  readonly #prefix: string;
  readonly #acknowledged = new Map<string, string>();
  readonly #failures: unknown[] = [];
  readonly #running: Promise<void>[];
  #stopped = false;
  #next = 0;

  constructor(client: KubeClient, prefix: string) {
    this.#client = client;
    this.#prefix = prefix;
    this.#running = Array.from({ length: writers }, async () => this.#write());
  }

  /** Name and value of each Secret whose creation the API server has confirmed. */
  get acknowledged(): ReadonlyMap<string, string> {
    return this.#acknowledged;
  }

  /** What was refused; nothing should be. */
  get failures(): readonly unknown[] {
    return this.#failures;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#running);
  }

  async #write(): Promise<void> {
    while (!this.#stopped) {
      this.#next += 1;
      const name = `${this.#prefix}-${this.#next}`;
      const value = `value of ${name}`;
      try {
        await this.#client.create('secrets', { name, data: { value } });
        this.#acknowledged.set(name, value);
      } catch (error) {
        this.#failures.push(error);
      }
      await delay(pauseMs);
    }
  }
}
