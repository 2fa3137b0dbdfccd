import type { Duplex } from 'node:stream';
import { readFrames, writeFrame } from '../frames.js';
import type { Call, FromChild, PinAnswer, ToChild } from '../protocol.js';
import { CallFailure } from './call-failure.js';
import type { LoginOutcome, PinSource } from './pin-source.js';

/** The child's end of the pipe to the server. */
export class ServerPipe implements PinSource {
  readonly #pipe: Duplex;
  readonly #pinAnswers: ((answer: { readonly header: PinAnswer; readonly bytes: Uint8Array }) => void)[] = [];

  /** @param onCall - gets each call with the bytes that belong to it, to be overwritten when they have been used */
  constructor(pipe: Duplex, onCall: (call: Call & { readonly id: number }, bytes: Uint8Array) => void) {
    this.#pipe = pipe;
    readFrames(
      pipe,
      ({ header, bytes }) => {
        // The server is the one party that is trusted here.
        const message = header as ToChild;
        if ('call' in message) onCall(message, bytes);
        else this.#pinAnswers.shift()?.({ header: message, bytes });
      },
      (reason) => {
        throw new Error(`the server sent ${reason}`);
      },
    );
  }

  send(message: FromChild, bytes?: Uint8Array): void {
    writeFrame(this.#pipe, message, bytes);
  }

  async ask(triesLeft: number | null): Promise<Uint8Array> {
    const answer = new Promise<{ readonly header: PinAnswer; readonly bytes: Uint8Array }>((resolve) => {
      this.#pinAnswers.push(resolve);
    });
    this.send({ ask: 'pin', triesLeft });
    const { header, bytes } = await answer;
    if (header.pin === 'given') return bytes;
    throw new CallFailure('unauthenticated', header.reason ?? 'there is no PIN to try');
  }

  tell(outcome: LoginOutcome, triesLeft: number | null): void {
    this.send({ told: 'login', outcome, triesLeft });
  }
}
