import { randomBytes, timingSafeEqual } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseKekId } from '../kek-id.js';
import { meaningOf, returnValueOf } from '../errors.js';
import type { TokenSettings } from '../protocol.js';
import { CallFailure, isLoginVerdict, toCallFailure } from './call-failure.js';
import { CKR } from './cryptoki.js';
import type { Scheme } from './scheme.js';
import type { Renewal, Token } from './token.js';
import { findCurrent, findVersion, type Version } from './versions.js';

/** A wrapped key that is known to be good, and what it opens to: random bytes that protect nothing. */
interface Canary {
  readonly wrapped: Uint8Array;
  readonly plaintext: Uint8Array;
}

const CANARY_LENGTH = 32;
const REREAD_PAUSE_MS = 1_000;
/** Each only when the one before did not make the canary open. `undefined`: to find the key again is all. */
const LADDER: readonly (Renewal | undefined)[] = [undefined, 'login', 'sessions', 'module'];

/** How modules say that they do not know a mechanism, or not with these parameters. */
const NOT_SUPPORTED: ReadonlySet<number | undefined> = new Set([
  CKR.argumentsBad,
  CKR.functionNotSupported,
  CKR.mechanismInvalid,
  CKR.mechanismParamInvalid,
]);

type KekSettings = TokenSettings & { readonly mechanism: NonNullable<TokenSettings['mechanism']> };

/**
 * The KEK in the token: wraps, unwraps, and when something fails finds out whose fault it was.
 *
 * Return values cannot tell: modules give the same one for a tampered ciphertext and for a dead device. So right after a failure the canary
 * is unwrapped. If it opens, the call is tried once more, and a second failure is the fault of what was to be unwrapped. If it does not, the
 * ladder is climbed until it does; what is above its last step is a new process.
 */
export class Kek {
  readonly #token: Token;
  readonly #scheme: Scheme;
  readonly #settings: KekSettings;
  #current: Version | undefined;
  /** By KEK id: versions whose handles are good, until something is renewed. */
  readonly #known = new Map<string, Version>();
  /** By KEK id. They outlive every renewal: what they wrap stays wrapped. */
  readonly #canaries = new Map<string, Canary>();
  #running = 0;
  #whenIdle: (() => void)[] = [];
  #repair: Promise<void> | undefined;
  #rereadAtMs = -Infinity;

  constructor(token: Token, scheme: Scheme, settings: KekSettings) {
    this.#token = token;
    this.#scheme = scheme;
    this.#settings = settings;
  }

  /**
   * Finds the version that wraps and proves the mechanism with it: a round trip, and a tampered copy that must fail. One real module
   * answers CKR_OK to a bad padding.
   */
  async open(): Promise<string> {
    const version = await this.#findCurrent();
    try {
      await this.#prove(version);
    } catch (error) {
      const { mechanism, hash } = this.#settings;
      if (!NOT_SUPPORTED.has(returnValueOf(error))) throw error;
      throw mechanism === 'rsa-oaep'
        ? new CallFailure('config', `the token does not do rsa-oaep with ${hash}; try another hash`, {
            path: 'hash',
            cause: error,
          })
        : new CallFailure('config', `the token lists ${mechanism} and does not do it`, {
            path: 'mechanism',
            cause: error,
          });
    }
    return version.kekId;
  }

  async currentKekId(): Promise<string> {
    if (this.#settings.rereadModule) await this.#reread();
    return this.#guarded(async () => {
      const version = await this.#findCurrent();
      if (!this.#canaries.has(version.kekId)) await this.#prove(version);
      await this.#openCanary(version);
      return version.kekId;
    }, secondFailure);
  }

  async wrap(plaintext: Uint8Array): Promise<{ kekId: string; wrapped: Uint8Array }> {
    if (this.#settings.rereadModule) await this.#reread();
    return this.#guarded(async () => {
      const version = await this.#findCurrent();
      const { kekId } = version;
      return { kekId, wrapped: await this.#wrapWith(version, plaintext) };
    }, secondFailure);
  }

  async unwrap(kekId: string, wrapped: Uint8Array): Promise<Uint8Array> {
    const name = parseKekId(kekId);
    const { key } = this.#settings;
    if (name === undefined) throw new CallFailure('invalid-ciphertext', 'the KEK id is not one of the hsm backend');
    if ((key.label ?? name.label) !== name.label || (key.id ?? name.id) !== name.id)
      throw new CallFailure('invalid-ciphertext', 'the KEK id names another key than the config');
    if (wrapped[0] !== this.#scheme.tag)
      throw new CallFailure('invalid-ciphertext', 'wrapped with another mechanism or hash than the config says');
    return this.#guarded(
      async () => {
        const version = this.#known.get(kekId) ?? (await this.#findVersion(kekId));
        return this.#unwrapWith(version, wrapped);
      },
      async (error) => {
        const known = this.#known.get(kekId);
        // An older version may be the one that fails, while the current one is well.
        const healthy = known !== undefined && (!this.#canaries.has(kekId) || (await this.#canaryOpens(known)));
        return healthy ? blameBytes(error) : secondFailure(error);
      },
    );
  }

  async #findCurrent(): Promise<Version> {
    const version = await this.#token.use((session) =>
      findCurrent({ cryptoki: this.#token.cryptoki, session }, this.#settings),
    );
    this.#current = version;
    this.#known.set(version.kekId, version);
    return version;
  }

  async #findVersion(kekId: string): Promise<Version> {
    const name = parseKekId(kekId);
    const found =
      name &&
      (await this.#token.use((session) =>
        findVersion({ cryptoki: this.#token.cryptoki, session }, this.#settings, name),
      ));
    if (name === undefined || found === undefined) throw new CallFailure('key-not-found', 'the token has no such key');
    const told = found.name.fingerprint !== 'none' && name.fingerprint !== 'none';
    if (told && found.name.fingerprint !== name.fingerprint) {
      throw new CallFailure(
        'key-not-found',
        `another key stands beneath this label and id (${found.name.fingerprint}, not ${name.fingerprint})`,
      );
    }
    // Named as it was asked for: what it wrapped authenticates that id, which is another one than today's where the config's `fingerprint` has changed.
    const version = { ...found, kekId };
    this.#known.set(kekId, version);
    await this.#makeCanary(kekId, version);
    return version;
  }

  /**
   * Runs `work`; when it fails, sees to it that the canary opens, and runs it once more.
   *
   * @param judge - says what a second failure means, right after the canary opened
   * @throws {CallFailure}
   */
  async #guarded<T>(work: () => Promise<T>, judge: (error: unknown) => CallFailure | Promise<CallFailure>): Promise<T> {
    try {
      return await this.#run(work);
    } catch (error) {
      if (isVerdict(error)) throw error;
      if (isMissing(error) && this.#settings.rereadModule) {
        // Whoever can write to storage can name a missing version again and again.
        await sleep(Math.max(0, this.#rereadAtMs + REREAD_PAUSE_MS - performance.now()));
        await this.#reread();
      } else if (!(await this.#run(() => this.#canaryOpens(this.#current)))) await this.#untilCanaryOpens(error);
      // Whatever failed may have failed for a handle that is void by now.
      this.#known.clear();
    }
    try {
      return await this.#run(work);
    } catch (error) {
      throw await judge(error);
    }
  }

  /** Not while a repair is under way: it closes sessions and voids handles. */
  async #run<T>(work: () => Promise<T>): Promise<T> {
    while (this.#repair !== undefined) await this.#repair.catch(() => undefined);
    this.#running += 1;
    try {
      return await work();
    } finally {
      this.#running -= 1;
      if (this.#running === 0) for (const wake of this.#whenIdle.splice(0)) wake();
    }
  }

  /** Initializes the module anew, so that it sees the keys as they are now. */
  async #reread(): Promise<void> {
    await this.#exclusively(async () => {
      try {
        await this.#token.renew('module');
        this.#known.clear();
        await this.#findCurrent();
        this.#rereadAtMs = performance.now();
      } catch (error) {
        await this.#climb(error);
      }
    });
  }

  /** One repair at a time, for all who need one. */
  async #untilCanaryOpens(cause: unknown): Promise<void> {
    return this.#exclusively(() => this.#climb(cause));
  }

  /** Runs `work` when nothing else runs; who asks meanwhile shares what is under way. */
  async #exclusively(work: () => Promise<void>): Promise<void> {
    this.#repair ??= this.#whenNothingRuns()
      .then(work)
      .finally(() => {
        this.#repair = undefined;
      });
    return this.#repair;
  }

  async #whenNothingRuns(): Promise<void> {
    while (this.#running > 0) {
      await new Promise<void>((resolve) => {
        this.#whenIdle.push(resolve);
      });
    }
  }

  async #climb(cause: unknown): Promise<void> {
    let last: unknown = cause;
    // Another call may have repaired it meanwhile.
    if (await this.#canaryOpens(this.#current)) return;
    for (const step of LADDER) {
      try {
        if (step !== undefined) await this.#token.renew(step);
        this.#known.clear();
        const version = await this.#findCurrent();
        if (!this.#canaries.has(version.kekId)) await this.#prove(version);
        await this.#openCanary(version);
        return;
      } catch (error) {
        last = error;
        // No step changes what the token says about the PIN, and each would be one more try.
        if (isLoginVerdict(error)) throw error;
      }
    }
    const { code, reason } = toCallFailure(last).failure;
    // A module that was read anew and shows every sign of life says so: another process would see the same.
    const answered =
      code === 'key-not-found' || code === 'config' || code === 'permission-denied' || code === 'throttled';
    throw new CallFailure(answered ? code : blame(code), reason, { cause: last, restart: !answered });
  }

  async #canaryOpens(version: Version | undefined): Promise<boolean> {
    if (version === undefined) return false;
    try {
      await this.#openCanary(version);
      return true;
    } catch {
      return false;
    }
  }

  async #openCanary(version: Version): Promise<void> {
    const canary = this.#canaries.get(version.kekId);
    if (canary === undefined) throw new CallFailure('unavailable', 'the key was never proven');
    const opened = await this.#unwrapWith(version, canary.wrapped);
    const same = opened.length === canary.plaintext.length && timingSafeEqual(opened, canary.plaintext);
    if (!same) throw new CallFailure('unavailable', 'the token decrypts wrongly');
  }

  /** For a version met later: what it wraps now opens later, or it is the key or the token that failed. It may not be allowed to wrap. */
  async #makeCanary(kekId: string, version: Version): Promise<void> {
    if (this.#canaries.has(kekId)) return;
    const plaintext = randomBytes(CANARY_LENGTH);
    try {
      this.#canaries.set(kekId, { plaintext, wrapped: await this.#wrapWith(version, plaintext) });
    } catch {
      // The canary of the current version has to do.
    }
  }

  async #prove(version: Version): Promise<void> {
    const plaintext = randomBytes(CANARY_LENGTH);
    const wrapped = await this.#wrapWith(version, plaintext);
    const opened = await this.#unwrapWith(version, wrapped);
    if (opened.length !== plaintext.length || !timingSafeEqual(opened, plaintext))
      throw new CallFailure('config', 'the token unwraps to other bytes than it wrapped', { path: 'mechanism' });
    const tampered = Uint8Array.from(wrapped);
    const middle = tampered.length >> 1;
    tampered[middle] = (tampered[middle] ?? 0) ^ 1;
    if (await this.#takes(version, tampered)) {
      throw new CallFailure(
        'config',
        'the token takes a tampered ciphertext for a good one; choose another mechanism',
        {
          path: 'mechanism',
        },
      );
    }
    this.#canaries.set(version.kekId, { plaintext, wrapped });
    // Also the answer of a module that failed for another reason: the round trip has to work after it, too.
    await this.#openCanary(version);
  }

  async #takes(version: Version, wrapped: Uint8Array): Promise<boolean> {
    try {
      (await this.#unwrapWith(version, wrapped)).fill(0);
      return true;
    } catch {
      return false;
    }
  }

  async #wrapWith(version: Version, plaintext: Uint8Array): Promise<Uint8Array> {
    const { cryptoki } = this.#token;
    const context = Buffer.from(version.kekId);
    const body = await this.#token.use((session) =>
      this.#scheme.wrap(plaintext, { cryptoki, session, keys: version, context }),
    );
    return Buffer.concat([Uint8Array.of(this.#scheme.tag), body]);
  }

  async #unwrapWith(version: Version, wrapped: Uint8Array): Promise<Uint8Array> {
    const { cryptoki } = this.#token;
    const context = Buffer.from(version.kekId);
    return this.#token.use((session) =>
      this.#scheme.unwrap(wrapped.subarray(1), { cryptoki, session, keys: version, context }),
    );
  }
}

/** What needs no canary: our own reading of the request, the config or a login, and what the token says about rights. */
function isVerdict(error: unknown): boolean {
  if (isLoginVerdict(error)) return true;
  const { code } = toCallFailure(error).failure;
  return code === 'config' || code === 'permission-denied';
}

function isMissing(error: unknown): boolean {
  return error instanceof CallFailure && error.failure.code === 'key-not-found';
}

/** What a failure means that came right after the canary had opened. */
function secondFailure(error: unknown): CallFailure {
  const failed = toCallFailure(error);
  const { code, reason } = failed.failure;
  return code === 'invalid-ciphertext' ? new CallFailure('unavailable', reason, { cause: error }) : failed;
}

/** The same, where the key opened its own canary: the bytes are to blame for whatever the token says that is not about rights. */
function blameBytes(error: unknown): CallFailure {
  if (error instanceof CallFailure) return error;
  const value = returnValueOf(error);
  if (value === undefined) return toCallFailure(error);
  const { code, reason } = meaningOf(value);
  return code === 'permission-denied' || code === 'throttled'
    ? new CallFailure(code, reason, { cause: error })
    : new CallFailure('invalid-ciphertext', `the token does not take the ciphertext (${reason})`, { cause: error });
}

/** After the whole ladder: bytes cannot be to blame, for they were the canary’s own. */
function blame(code: CallFailure['failure']['code']): CallFailure['failure']['code'] {
  return code === 'invalid-ciphertext' || code === 'internal' ? 'unavailable' : code;
}
