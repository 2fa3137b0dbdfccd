import { isBackendError, type Fact } from '@sealwax/core';
import { failureOf } from '@sealwax/core/conformance';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Login, type Identity } from '../src/login.js';

const START = Date.parse('2026-01-01T00:00:00Z');
const MINUTE = 60_000;

beforeEach(() => {
  vi.useFakeTimers({ now: START, toFake: ['Date'] });
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** Sessions of `lifetimeMs` from a source that can be broken; `accessKeyId` counts them. */
function sessions(lifetimeMs: number | undefined) {
  let fetched = 0;
  let broken: Error | undefined;
  const facts: Fact[] = [];
  const fetch = (): Promise<Identity> => {
    fetched += 1;
    if (broken !== undefined) return Promise.reject(broken);
    return Promise.resolve({
      accessKeyId: String(fetched),
      secretAccessKey: 'secret',
      ...(lifetimeMs !== undefined && { expiration: new Date(Date.now() + lifetimeMs) }),
    });
  };
  const login = new Login(fetch, 'assume-role', (fact) => facts.push(fact));
  return {
    login,
    facts,
    fetched: () => fetched,
    break: (error: Error | undefined) => {
      broken = error;
    },
    at: async (ms: number) => {
      vi.setSystemTime(START + ms);
      return (await login.identity()).accessKeyId;
    },
  };
}

describe('a session', () => {
  test('is held until 5 minutes before its end, and then renewed beside the calls', async () => {
    const { at, fetched } = sessions(60 * MINUTE);
    expect(await at(0)).toBe('1');
    expect(await at(54 * MINUTE)).toBe('1');
    expect(fetched()).toBe(1);
    // This call starts the renewal and does not wait for it.
    expect(await at(56 * MINUTE)).toBe('1');
    await expect.poll(() => at(56 * MINUTE)).toBe('2');
    expect(fetched()).toBe(2);
  });

  test('of seconds is renewed in its last quarter', async () => {
    const { at } = sessions(4_000);
    expect(await at(0)).toBe('1');
    expect(await at(2_900)).toBe('1');
    await at(3_100);
    await expect.poll(() => at(3_100)).toBe('2');
  });

  test('serves to its end while there is no new one, and then says why', async () => {
    const source = sessions(60 * MINUTE);
    await source.at(0);
    source.break(Object.assign(new Error('no route'), { code: 'EHOSTUNREACH', syscall: 'connect' }));
    expect(await source.at(59 * MINUTE)).toBe('1');
    const error: unknown = await source.at(61 * MINUTE).catch((reason: unknown) => reason);
    expect(isBackendError(error) && error.code).toBe('unavailable');
    expect(String(error)).toContain('aws: log in with assume-role: ');
    source.break(undefined);
    expect(Number(await source.at(61 * MINUTE))).toBeGreaterThan(1);
  });

  test('is fetched once for all who ask at the same time', async () => {
    const { login, fetched } = sessions(60 * MINUTE);
    await Promise.all(Array.from({ length: 20 }, () => login.identity()));
    expect(fetched()).toBe(1);
  });

  test('that was rejected is fetched again by the next call', async () => {
    const { login, at } = sessions(60 * MINUTE);
    expect(await at(0)).toBe('1');
    login.forget();
    expect(await at(1)).toBe('2');
  });

  test('is reported with its end', async () => {
    const { at, facts } = sessions(60 * MINUTE);
    await at(0);
    expect(facts).toEqual([{ kind: 'credential-expiry', at: new Date(START + 60 * MINUTE) }]);
  });
});

describe('a fetch without an answer', () => {
  /** A source that answers when the test says so, and a limit that is over when the test says so. */
  function hangingSource() {
    const limit = new AbortController();
    const limits = vi.spyOn(AbortSignal, 'timeout').mockReturnValueOnce(limit.signal);
    const waiting: { resolve: (identity: Identity) => void; reject: (error: Error) => void }[] = [];
    const fetch = () =>
      new Promise<Identity>((resolve, reject) => {
        waiting.push({ resolve, reject });
      });
    return { login: new Login(fetch, 'profile', () => undefined), limit, limits, waiting };
  }
  const identityOf = (accessKeyId: string): Identity => ({ accessKeyId, secretAccessKey: 'secret' });

  test.each(['an identity', 'an error'])(
    'ends for all after 10 s; the next call fetches anew, and %s that comes late changes nothing',
    async (late) => {
      const { login, limit, limits, waiting } = hangingSource();
      const calls = [login.identity(), login.identity()].map((call) => failureOf(call));
      limit.abort();
      for (const { code, message } of await Promise.all(calls)) {
        expect(code).toBe('unavailable');
        expect(message).toBe('aws: log in with profile: no answer within 10000 ms');
      }
      expect(limits).toHaveBeenCalledWith(10_000);
      const next = login.identity();
      const [first, second] = waiting;
      if (late === 'an error') first?.reject(new Error('late'));
      else first?.resolve(identityOf('late'));
      second?.resolve(identityOf('in time'));
      expect((await next).accessKeyId).toBe('in time');
      expect((await login.identity()).accessKeyId).toBe('in time');
      expect(waiting).toHaveLength(2);
    },
  );

  test('ends when the login is closed', async () => {
    const { login } = hangingSource();
    const call = failureOf(login.identity());
    login.close();
    expect((await call).code).toBe('unavailable');
  });
});

test('an access key without an end is read again after half a minute', async () => {
  const { at, facts } = sessions(undefined);
  expect(await at(0)).toBe('1');
  expect(await at(29_000)).toBe('1');
  expect(await at(31_000)).toBe('2');
  expect(facts[0]).toEqual({ kind: 'credential-expiry', at: undefined });
});

test.each([
  ['AccessDenied', 'unauthenticated'],
  ['ExpiredTokenException', 'unauthenticated'],
  ['InvalidIdentityToken', 'unauthenticated'],
  ['CredentialsProviderError', 'unauthenticated'],
  ['IDPCommunicationErrorException', 'unavailable'],
  ['ServiceUnavailable', 'unavailable'],
  ['TimeoutError', 'unavailable'],
  ['Throttling', 'throttled'],
])('shape only: %s of a login is %s, and never a refusal', async (name, code) => {
  const source = sessions(undefined);
  source.break(Object.assign(new Error('with words of AWS'), { name }));
  const error: unknown = await source.login.identity().catch((reason: unknown) => reason);
  expect(isBackendError(error) && error.code).toBe(code);
  expect(String(error)).not.toContain('words of AWS');
});
