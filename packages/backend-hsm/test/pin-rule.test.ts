import { beforeEach, describe, expect, test } from 'vitest';
import { PinRule, type PinOffer } from '../src/pin-rule.js';

let content: string;
let rule: PinRule;
beforeEach(() => {
  content = '1234\n';
  rule = new PinRule({
    path: '/pin',
    read: () => Promise.resolve(Uint8Array.from(Buffer.from(content))),
    onChange: () => undefined,
  });
});

const never = new Promise<never>(() => undefined);
type Given = Extract<PinOffer, { readonly pin: unknown }>;

/** The PIN that would be tried, or `undefined` when it is withheld. */
async function offered(triesLeft: number | null = null): Promise<string | undefined> {
  const offer = await rule.offer(triesLeft, never);
  if (!('pin' in offer)) return undefined;
  const pin = Buffer.from(offer.pin).toString();
  offer.learn({ outcome: 'failed', triesLeft: null });
  return pin;
}

async function given(ended: Promise<unknown> = never): Promise<Given> {
  const offer = await rule.offer(null, ended);
  if ('pin' in offer) return offer;
  throw new Error(offer.withheld);
}

async function tryIt(outcome: Parameters<Given['learn']>[0]['outcome']): Promise<void> {
  (await given()).learn({ outcome, triesLeft: null });
}

describe('a PIN', () => {
  test('is the content of the file without the newline at its end', async () => {
    expect(await offered()).toBe('1234');
    content = '12 34\r\n\n';
    expect(await offered()).toBe('12 34');
  });

  test('that was called wrong is not tried again, until the file holds another one', async () => {
    await tryIt('wrong');
    expect(await offered()).toBeUndefined();
    content = '1234';
    expect(await offered(), 'the same PIN without its newline is the same PIN').toBeUndefined();
    content = '5678';
    expect(await offered()).toBe('5678');
  });

  test('that was met with a lock or with a broken token is tried again', async () => {
    for (const outcome of ['locked', 'expired', 'failed'] as const) {
      await tryIt(outcome);
      expect(await offered()).toBe('1234');
    }
  });

  test('is not tried with the last try, unless it was good before', async () => {
    expect(await offered(1)).toBeUndefined();
    expect(await offered(null)).toBe('1234');
    await tryIt('good');
    expect(await offered(1)).toBe('1234');
    content = '5678';
    expect(await offered(1)).toBeUndefined();
  });
});

describe('a PIN that was never good', () => {
  test('is tried once, however many ask for it at the same time', async () => {
    const first = await given();
    const others = [rule.offer(null, never), rule.offer(null, never)];
    first.learn({ outcome: 'wrong', triesLeft: null });
    for (const other of await Promise.all(others)) expect(other).toHaveProperty('withheld');
  });

  test('is given to all who wait for it once it is good, and to everybody at once from then on', async () => {
    const first = await given();
    const others = [given(), given()];
    first.learn({ outcome: 'good', triesLeft: null });
    await Promise.all([...others, given(), given()]);
  });

  test('is given to the next when whoever had it ends without a word', async () => {
    let crash: (why: string) => void = () => undefined;
    await given(
      new Promise((resolve) => {
        crash = resolve;
      }),
    );
    const second = given();
    const third = rule.offer(null, never);
    crash('was ended by SIGSEGV');
    (await second).learn({ outcome: 'wrong', triesLeft: null });
    expect(await third).toHaveProperty('withheld');
  });

  test('is not tried with a try that became the last one while it waited', async () => {
    const first = await given();
    const other = rule.offer(null, never);
    content = '5678';
    first.learn({ outcome: 'wrong', triesLeft: 1 });
    expect(await other).toHaveProperty('withheld');
  });
});

test('what one login learns is said of the PIN that it was given, whatever the others were given since', async () => {
  await tryIt('good');
  const before = await given();
  content = '5678';
  const other = await given();
  before.learn({ outcome: 'good', triesLeft: null });
  const third = rule.offer(null, never);
  other.learn({ outcome: 'wrong', triesLeft: null });
  expect(await third).toHaveProperty('withheld');
  content = '1234';
  expect(await offered(1)).toBe('1234');
});
