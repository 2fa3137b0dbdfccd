import type { Backend } from '@sealwax/core';
import { pino } from 'pino';
import { onTestFinished } from 'vitest';
import { loadConfig } from '../src/config/load.js';
import { serve } from '../src/serve.js';
import type { ConfigFile } from './config-file.js';

/** A gate at which unwraps wait while it is shut. */
export class Gate {
  #opened = Promise.resolve();
  /** Lets all who wait through, and all who come. */
  open: () => void = () => undefined;
  /** Unwraps that came to it. */
  arrived = 0;

  shut(): void {
    this.#opened = new Promise((resolve) => {
      this.open = resolve;
    });
  }

  async pass(): Promise<void> {
    this.arrived += 1;
    await this.#opened;
  }
}

/** Serves in this process with the backend of the config, whose unwraps go through `gate`: a KMS that stalls. Closed when the test is over. */
export async function serveStalled({ file }: ConfigFile, gate: Gate) {
  const config = await loadConfig(file);
  const loadedKeys = config.loadedKeys.map((key) => ({
    ...key,
    module: {
      ...key.module,
      open: async (...given: Parameters<typeof key.module.open>) => behind(gate, await key.module.open(...given)),
    },
  }));
  const running = await serve({ ...config, loadedKeys }, file, pino({ level: 'silent' }));
  onTestFinished(async () => {
    gate.open();
    await running.close();
  });
  return running;
}

function behind(gate: Gate, backend: Backend): Backend {
  return {
    currentKekId: (signal) => backend.currentKekId(signal),
    wrap: (plaintext, signal) => backend.wrap(plaintext, signal),
    unwrap: async (wrapped, signal) => {
      await gate.pass();
      return backend.unwrap(wrapped, signal);
    },
    close: () => backend.close(),
  };
}
