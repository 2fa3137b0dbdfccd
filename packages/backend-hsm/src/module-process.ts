import { spawn, type ChildProcess } from 'node:child_process';
import { Duplex } from 'node:stream';
import { childEntry } from './child-entry.js';
import { readFrames, writeFrame } from './frames.js';
import { fromChildSchema, type Call, type Failure, type FromChild, type PinAnswer } from './protocol.js';

/** What a call came to, when the process lived to tell. */
export interface CallAnswer {
  readonly value: Extract<FromChild, { value: unknown }>['value'];
  /** The caller's own, to be overwritten by him. */
  readonly bytes: Uint8Array;
}

/** The process ended, or was ended, before it answered. */
export class ProcessEnded extends Error {
  override readonly name = 'ProcessEnded';
}

/** The process answered that it could not do it. */
export class CallFailed extends Error {
  override readonly name = 'CallFailed';
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(failure.cause ?? failure.reason);
    this.failure = failure;
  }
}

interface ProcessOptions {
  /** The whole environment. */
  readonly environment: Readonly<Record<string, string>>;
  readonly output: 'discard' | 'stderr';
  readonly callTimeoutMs: number;
  /** Answers the process when it asks for the PIN. */
  readonly onPin: (triesLeft: number | null) => Promise<{ readonly answer: PinAnswer; readonly pin?: Uint8Array }>;
  readonly onTold: (told: Extract<FromChild, { told: unknown }>) => void;
  readonly onResidentSize: (bytes: number) => void;
}

interface Waiting {
  readonly resolve: (answer: CallAnswer) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

/** One process with the PKCS #11 module in it. A call that is not answered in time ends the process: nothing less ends a hung module. */
export class ModuleProcess {
  readonly #options: ProcessOptions;
  readonly #child: ChildProcess;
  readonly #pipe: Duplex;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #end: string | undefined;
  /** Settles, with why, when the process has ended. */
  readonly ended: Promise<string>;

  private constructor(options: ProcessOptions, child: ChildProcess, pipe: Duplex) {
    this.#options = options;
    this.#child = child;
    this.#pipe = pipe;
    // What is written to a process that has just ended; `ended` says it all.
    pipe.on('error', () => undefined);
    readFrames(
      pipe,
      ({ header, bytes }) => {
        this.#receive(header, bytes);
      },
      (reason) => {
        this.end(`sent ${reason}`);
      },
    );
    this.ended = new Promise((resolve) => {
      const end = (reason: string) => {
        this.#end ??= reason;
        this.#rejectAll(this.#end);
        resolve(this.#end);
      };
      child.once('error', (error) => {
        end(`did not start: ${error.message}`);
      });
      child.once('exit', (code, signal) => {
        end(signal === null ? `ended with exit code ${code ?? '?'}` : `was ended by ${signal}`);
      });
    });
  }

  /** @throws {ConfigError} when the process cannot be started for want of what it needs */
  static start(options: ProcessOptions): ModuleProcess {
    const output = options.output === 'stderr' ? 2 : 'ignore';
    const child = spawn(process.execPath, ['--max-old-space-size=64', childEntry()], {
      // PIN and keys go through the pipe: arguments and environment can be read by others.
      env: options.environment,
      cwd: '/',
      stdio: ['ignore', output, output, 'pipe', 'pipe'],
    });
    const pipe = child.stdio[3];
    if (!(pipe instanceof Duplex)) throw new Error('a child without its pipe');
    return new ModuleProcess(options, child, pipe);
  }

  get isAlive(): boolean {
    return this.#end === undefined;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /**
   * @param timeoutMs - the bound of this call; that of the options when absent
   * @throws {CallFailed} when the process says so
   * @throws {ProcessEnded} when it ends first
   */
  async call(call: Call, bytes?: Uint8Array, timeoutMs = this.#options.callTimeoutMs): Promise<CallAnswer> {
    if (this.#end !== undefined) throw new ProcessEnded(this.#end);
    const id = this.#nextId;
    this.#nextId += 1;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.end(`did not answer within ${timeoutMs} ms and was ended`);
      }, timeoutMs);
      this.#waiting.set(id, { resolve, reject, timer });
      writeFrame(this.#pipe, { ...call, id }, bytes);
    });
  }

  /** SIGKILL: a process that hangs in the module notices nothing else. */
  end(reason: string): void {
    this.#end ??= reason;
    this.#child.kill('SIGKILL');
    this.#rejectAll(reason);
    this.#pipe.destroy();
  }

  #receive(header: unknown, bytes: Uint8Array): void {
    const parsed = fromChildSchema.safeParse(header);
    if (!parsed.success) {
      this.end('sent a message that is none of ours');
      return;
    }
    const message = parsed.data;
    if ('ask' in message) {
      void this.#givePin(message.triesLeft);
    } else if ('told' in message) {
      this.#options.onTold(message);
    } else {
      const waiting = this.#waiting.get(message.id);
      if (waiting !== undefined) {
        this.#waiting.delete(message.id);
        clearTimeout(waiting.timer);
        if ('failure' in message) waiting.reject(new CallFailed(message.failure));
        else waiting.resolve({ value: message.value, bytes });
      }
      this.#options.onResidentSize(message.rssBytes);
    }
  }

  async #givePin(triesLeft: number | null): Promise<void> {
    const { answer, pin } = await this.#options.onPin(triesLeft);
    if (this.isAlive) writeFrame(this.#pipe, answer, pin);
    pin?.fill(0);
  }

  #rejectAll(reason: string): void {
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(new ProcessEnded(reason));
    }
    this.#waiting.clear();
  }
}
