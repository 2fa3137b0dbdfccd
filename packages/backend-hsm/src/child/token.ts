import { createHmac, randomBytes } from 'node:crypto';
import { returnValueOf } from '../errors.js';
import type { TokenSettings } from '../protocol.js';
import { CallFailure, toCallFailure } from './call-failure.js';
import { CKF, CKR, CKU_USER, type Cryptoki, type Handle, type TokenInfo } from './cryptoki.js';
import type { LoadedModule, SlotToken } from './loaded-module.js';
import type { LoginOutcome, PinSource } from './pin-source.js';

/** What `renew` starts over with. */
export type Renewal = 'login' | 'sessions' | 'module';

/**
 * One token: its login, held by an anchor session that does nothing else, and a bounded pool of sessions, each with one operation at a time.
 *
 * A session that saw any error is closed: a failed operation may stay active in it, and the next one would be refused.
 */
export class Token {
  readonly #module: LoadedModule;
  readonly #settings: TokenSettings;
  readonly #pins: PinSource;
  #slot: Handle | undefined;
  #anchor: Handle | undefined;
  /** Without its login a token shows no private keys, which must not look as if they were gone. */
  #isConnected = false;
  #idle: Handle[] = [];
  #inUse = 0;
  readonly #waiting: (() => void)[] = [];
  /** Of the PIN that the module has seen since it was initialized; a secret of this process turns it into a mark. */
  #triedPin: string | undefined;
  readonly #pinMarkKey = randomBytes(32);

  constructor(module: LoadedModule, settings: TokenSettings, pins: PinSource) {
    this.#module = module;
    this.#settings = settings;
    this.#pins = pins;
  }

  get cryptoki(): Cryptoki {
    return this.#module.cryptoki;
  }

  get slot(): Handle {
    if (this.#slot === undefined) throw new CallFailure('unavailable', 'the token is not connected');
    return this.#slot;
  }

  /** Finds the token, opens the anchor session and logs in. */
  async connect(): Promise<void> {
    this.#slot = this.#find().slot;
    this.#anchor = this.cryptoki.C_OpenSession(this.#slot, CKF.serialSession);
    await this.#login();
    this.#isConnected = true;
  }

  /**
   * Runs `work` in a session of its own; waits while all are in use.
   *
   * @throws whatever `work` throws, after closing the session
   */
  async use<T>(work: (session: Handle) => T | Promise<T>): Promise<T> {
    while (this.#inUse >= this.#settings.sessions) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
    this.#inUse += 1;
    try {
      if (!this.#isConnected) throw new CallFailure('unavailable', 'not logged in');
      const session = this.#idle.pop() ?? this.cryptoki.C_OpenSession(this.slot, CKF.serialSession);
      try {
        const answer = await work(session);
        this.#idle.push(session);
        return answer;
      } catch (error) {
        this.#close(session);
        throw error;
      }
    } finally {
      this.#inUse -= 1;
      this.#waiting.shift()?.();
    }
  }

  /** Starts over; nothing may be in use. What is older than the step (handles of keys, for instance) is void afterwards. */
  async renew(what: Renewal): Promise<void> {
    this.#isConnected = false;
    if (what === 'login' && this.#anchor !== undefined) {
      try {
        this.cryptoki.C_Logout(this.#anchor);
      } catch {
        // Logged out already, which is what was wanted.
      }
      await this.#login();
      this.#isConnected = true;
      return;
    }
    this.#closeAll();
    if (what === 'module') this.#reinitialize();
    await this.connect();
  }

  /** Ends the login and the module. */
  close(): void {
    this.#closeAll();
    this.#module.finalize();
  }

  #find(): SlotToken {
    const { label, serial } = this.#settings.token;
    const present = this.#module.tokens();
    const fitting = present.filter(
      ({ info }) => (label ?? info.label) === info.label && (serial ?? info.serialNumber) === info.serialNumber,
    );
    const [token, second] = fitting;
    const wanted = [label === undefined ? '' : `label ${label}`, serial === undefined ? '' : `serial ${serial}`]
      .filter((part) => part !== '')
      .join(' and ');
    if (token === undefined) {
      const seen = present.map(({ info }) => `${info.label} (serial ${info.serialNumber})`).join(', ');
      throw new CallFailure('unavailable', `no token with ${wanted}; present: ${seen === '' ? 'none' : seen}`);
    }
    if (second !== undefined) {
      throw new CallFailure('config', `${fitting.length} tokens have ${wanted}; name the serial of one`, {
        path: 'token',
      });
    }
    return token;
  }

  async #login(): Promise<void> {
    const info = this.#info();
    if (!this.#settings.login) {
      if ((info.flags & CKF.loginRequired) === 0) return;
      throw new CallFailure('config', 'required: the token wants a login', { path: 'pinFile' });
    }
    const pin = await this.#pins.ask(triesLeft(info));
    try {
      this.#tryPin(pin);
    } finally {
      pin.fill(0);
    }
  }

  /** Always tells what came of it: others may wait for that. */
  #tryPin(pin: Uint8Array): void {
    let outcome: LoginOutcome = 'good';
    try {
      const mark = createHmac('sha256', this.#pinMarkKey).update(pin).digest('hex');
      // A module may hold on to what it knew of the PIN when it was initialized, and would call the new one wrong.
      if (this.#triedPin !== undefined && this.#triedPin !== mark) {
        this.#closeAll();
        this.#reinitialize();
        this.#slot = this.#find().slot;
        this.#anchor = this.cryptoki.C_OpenSession(this.#slot, CKF.serialSession);
      }
      this.#triedPin = mark;
      if (this.#anchor === undefined) throw new CallFailure('unavailable', 'no session to log in with');
      // pkcs11js takes nothing but a string, which cannot be overwritten; it lives in this process only.
      this.cryptoki.C_Login(this.#anchor, CKU_USER, Buffer.from(pin).toString('utf8'));
    } catch (error) {
      if (returnValueOf(error) === CKR.userAlreadyLoggedIn) {
        outcome = 'failed';
        return;
      }
      outcome = outcomeOf(returnValueOf(error));
      throw toCallFailure(error);
    } finally {
      this.#pins.tell(outcome, this.#triesLeftNow());
    }
  }

  #triesLeftNow(): number | null {
    try {
      return triesLeft(this.#info());
    } catch {
      return null;
    }
  }

  #info(): TokenInfo {
    return this.cryptoki.C_GetTokenInfo(this.slot);
  }

  #reinitialize(): void {
    this.#triedPin = undefined;
    this.#module.reinitialize();
  }

  #closeAll(): void {
    for (const session of this.#idle) this.#close(session);
    this.#idle = [];
    if (this.#anchor !== undefined) this.#close(this.#anchor);
    this.#anchor = undefined;
    try {
      if (this.#slot !== undefined) this.cryptoki.C_CloseAllSessions(this.#slot);
    } catch {
      // Gone with the device; those that the module still counts end with C_Finalize.
    }
  }

  #close(session: Handle): void {
    try {
      this.cryptoki.C_CloseSession(session);
    } catch {
      // Nothing is left to be done with it.
    }
  }
}

/** PKCS #11 tells tries by flags only: the last one, or none. */
function triesLeft({ flags }: TokenInfo): number | null {
  if ((flags & CKF.userPinLocked) !== 0) return 0;
  return (flags & CKF.userPinFinalTry) === 0 ? null : 1;
}

function outcomeOf(returnValue: number | undefined): LoginOutcome {
  switch (returnValue) {
    case CKR.pinIncorrect:
    case CKR.pinInvalid:
    case CKR.pinLenRange:
      return 'wrong';
    case CKR.pinExpired:
      return 'expired';
    case CKR.pinLocked:
      return 'locked';
    case undefined:
    default:
      return 'failed';
  }
}
