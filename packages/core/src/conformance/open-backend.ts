import type { Backend } from '../backend.js';
import { lendHost, type Fact } from '../host.js';
import type { Harness } from './harness.js';

/** A backend as the server opens it: config checked by the module's own schema, host lent. */
export interface OpenedBackend {
  readonly backend: Backend;
  /** What it reported so far, oldest first. */
  readonly facts: readonly Fact[];
  /** Ends it as the server does: `Host.signal` aborts, then `close` is called. */
  end(): Promise<void>;
}

interface OpenBackendOptions {
  /** Gives up opening, as the server does when `open` takes too long. */
  readonly signal?: AbortSignal;
}

/**
 * Opens the harness's backend, for tests beyond the kit's cases.
 *
 * @throws {Error} when the module's schema refuses the harness's config
 * @throws whatever `open` throws
 */
export async function openBackend(
  { module, config }: Pick<Harness, 'module' | 'config'>,
  { signal }: OpenBackendOptions = {},
): Promise<OpenedBackend> {
  const checked = await module.config['~standard'].validate(config);
  if (checked.issues !== undefined) {
    const issues = checked.issues.map(({ message, path = [] }) => {
      const steps = path.map((step) => String(typeof step === 'object' ? step.key : step));
      return `${steps.join('.') || 'config'}: ${message}`;
    });
    throw new Error(`the module refuses the harness's config: ${issues.join('; ')}`);
  }
  const life = new AbortController();
  const facts: Fact[] = [];
  const host = lendHost('conformance', (fact) => facts.push(fact), life.signal);
  const giveUp = () => {
    life.abort();
  };
  signal?.addEventListener('abort', giveUp, { once: true });
  try {
    const backend = await module.open(checked.value, host);
    return {
      backend,
      facts,
      end: async () => {
        life.abort();
        await backend.close();
      },
    };
  } catch (error) {
    life.abort();
    throw error;
  } finally {
    signal?.removeEventListener('abort', giveUp);
  }
}
