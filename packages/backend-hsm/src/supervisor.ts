import { BackendError, ConfigError, type Host } from '@sealwax/core';
import type { HsmConfig } from './config.js';
import { CallFailed, ModuleProcess, ProcessEnded, type CallAnswer } from './module-process.js';
import { pinRuleFor, type PinOffer, type PinRule } from './pin-rule.js';
import type { Call, FromChild, TokenSettings } from './protocol.js';

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 30_000;
const CLOSE_MS = 1_000;
const MEBIBYTE = 1024 * 1024;

/**
 * Keeps one process with the module running: starts it, ends it when it hangs or grows, and starts another after a pause that doubles while
 * processes keep ending.
 */
export class Supervisor {
  readonly #config: HsmConfig;
  readonly #host: Host;
  readonly #pins: PinRule | undefined;
  /** From its first moment on, before it has opened the token: what runs has to be ended. */
  #process: ModuleProcess | undefined;
  /** Settles when `#process` has opened the token. */
  #starting: Promise<ModuleProcess> | undefined;
  /** Ends in a row, with no good call in between. */
  #ends = 0;
  #crashes = 0;
  #nextStartAtMs = 0;
  #whyEnded = '';
  #isClosed = false;
  readonly #close = () => {
    this.#isClosed = true;
    this.#process?.end('was closed');
  };

  constructor(config: HsmConfig, host: Host) {
    this.#config = config;
    this.#host = host;
    const place = [config.module, config.moduleParameters, config.token.label, config.token.serial].join('\0');
    this.#pins = config.pinFile === undefined ? undefined : pinRuleFor(place, host.secretFile(config.pinFile));
    host.signal.addEventListener('abort', this.#close, { once: true });
    host.report({
      kind: 'gauge',
      name: 'hsm_process_memory_limit_bytes',
      value: config.memoryLimitMebibytes * MEBIBYTE,
    });
    host.report({ kind: 'gauge', name: 'hsm_process_crashes_total', value: 0 });
  }

  /**
   * Calls the module; when its process ends meanwhile, or says that only another one can help, once more in a new one.
   *
   * @param doing - starts the messages, for instance `hsm: wrap with kms`
   * @throws {BackendError}
   */
  async call(
    call: Call,
    { bytes, doing, signal }: { readonly bytes?: Uint8Array; readonly doing: string; readonly signal: AbortSignal },
  ): Promise<CallAnswer> {
    const attempt = async () => {
      const process = await this.#running(doing);
      const answer = await process.call(call, bytes);
      this.#ends = 0;
      return answer;
    };
    const twice = async () => {
      try {
        return await attempt();
      } catch (error) {
        if (!isWorthAnotherProcess(error) || signal.aborted || this.#isClosed) throw error;
        return attempt();
      }
    };
    try {
      return await unlessAborted(twice(), signal);
    } catch (error) {
      if (this.#isClosed) throw new BackendError('internal', `${doing}: the backend is closed`);
      throw explain(error, doing, signal);
    }
  }

  /** Starts the first process, so that what is wrong is said now. */
  async open(signal: AbortSignal): Promise<void> {
    try {
      await unlessAborted(this.#running('hsm: open'), signal);
    } catch (error) {
      throw explain(error, 'hsm: open', signal);
    }
  }

  async close(): Promise<void> {
    this.#host.signal.removeEventListener('abort', this.#close);
    const process = this.#process;
    this.#isClosed = true;
    if (process === undefined) return;
    // A logout is a courtesy to the token: whether or not it works, the process ends. One that has not opened it yet owes none.
    if (this.#starting === undefined) await process.call({ call: 'close' }, undefined, CLOSE_MS).catch(() => undefined);
    process.end('was closed');
    await process.ended;
  }

  async #running(doing: string): Promise<ModuleProcess> {
    if (this.#isClosed) throw new ProcessEnded('was closed');
    if (this.#starting !== undefined) return this.#starting;
    if (this.#process?.isAlive === true) return this.#process;
    const pauseMs = this.#nextStartAtMs - performance.now();
    if (pauseMs > 0) {
      const inMs = Math.ceil(pauseMs);
      throw new BackendError(
        'unavailable',
        `${doing}: the module’s process ${this.#whyEnded}; the next one starts in ${inMs} ms`,
      );
    }
    this.#starting = this.#start().finally(() => {
      this.#starting = undefined;
    });
    return this.#starting;
  }

  async #start(): Promise<ModuleProcess> {
    let offer: PinOffer | undefined;
    const process = ModuleProcess.start({
      environment: { ...this.#config.environment, UV_THREADPOOL_SIZE: String(this.#config.sessions + 2) },
      output: this.#config.moduleOutput,
      callTimeoutMs: this.#config.callTimeoutSeconds * 1000,
      onPin: async (triesLeft) => {
        offer = await this.#pins?.offer(triesLeft, process.ended);
        if (offer !== undefined && 'pin' in offer) return { answer: { pin: 'given' }, pin: offer.pin };
        return { answer: { pin: 'withheld', reason: offer?.withheld ?? 'no pinFile in the config' } };
      },
      onTold: (told) => {
        if (told.told === 'login' && offer !== undefined && 'pin' in offer) offer.learn(told);
        this.#report(told);
      },
      onResidentSize: (bytes) => {
        this.#host.report({ kind: 'gauge', name: 'hsm_process_resident_bytes', value: bytes });
        if (bytes > this.#config.memoryLimitMebibytes * MEBIBYTE) process.end('grew above memoryLimitMebibytes');
      },
    });
    this.#process = process;
    void process.ended.then((why) => {
      this.#noteEnd(process, why);
    });
    try {
      const settings = settingsOf(this.#config);
      await process.call({ call: 'open', settings }, undefined, this.#config.openTimeoutSeconds * 1000);
    } catch (error) {
      process.end('could not open the token');
      throw error;
    }
    return process;
  }

  #noteEnd(process: ModuleProcess, why: string): void {
    if (this.#process === process) this.#process = undefined;
    if (this.#isClosed) return;
    this.#whyEnded = why;
    this.#crashes += 1;
    this.#host.report({ kind: 'gauge', name: 'hsm_process_crashes_total', value: this.#crashes });
    // The first end costs no pause: the call that met it is tried again at once.
    const pauseMs = this.#ends === 0 ? 0 : Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (this.#ends - 1));
    this.#ends += 1;
    this.#nextStartAtMs = performance.now() + pauseMs;
  }

  #report(told: Extract<FromChild, { told: unknown }>): void {
    if (told.told === 'advice') this.#host.report({ kind: 'advice', text: told.text });
    else if (told.triesLeft !== null)
      this.#host.report({ kind: 'gauge', name: 'hsm_pin_tries_left', value: told.triesLeft });
  }
}

function settingsOf(config: HsmConfig): TokenSettings {
  return {
    module: { path: config.module, parameters: config.moduleParameters },
    token: { label: config.token.label, serial: config.token.serial },
    key: { label: config.key.label, id: config.key.id },
    macKeyLabel: config.macKey?.label,
    mechanism: config.mechanism,
    hash: config.hash ?? 'sha256',
    current: config.current,
    fingerprint: config.fingerprint,
    rereadModule: config.rereadModule,
    sessions: config.sessions,
    login: config.pinFile !== undefined,
  };
}

function isWorthAnotherProcess(error: unknown): boolean {
  return error instanceof ProcessEnded || (error instanceof CallFailed && error.failure.restart);
}

/** Rejects when `signal` aborts; the call itself goes on, and its own bound ends a module that hangs. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const stop = new AbortController();
  const aborted = new Promise<never>((_, reject) => {
    const abort = () => {
      reject(new ProcessEnded('did not answer before the call was given up'));
    };
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true, signal: stop.signal });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    stop.abort();
  }
}

function explain(error: unknown, doing: string, signal: AbortSignal): unknown {
  if (error instanceof ProcessEnded) {
    const why = signal.aborted ? error.message : `the module’s process ${error.message}`;
    return new BackendError('unavailable', `${doing}: ${why}`, { cause: error });
  }
  if (!(error instanceof CallFailed)) return error;
  const { code, reason, path = '' } = error.failure;
  if (code === 'config') return new ConfigError(path, reason, { cause: error });
  return new BackendError(code, `${doing}: ${reason}`, { cause: error });
}
