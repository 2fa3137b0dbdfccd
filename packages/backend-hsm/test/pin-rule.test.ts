import { beforeEach, describe, expect, test } from 'vitest';
import { PinRule } from '../src/pin-rule.js';

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

/** The PIN that would be tried, or `undefined` when it is withheld. */
async function offered(triesLeft: number | null = null): Promise<string | undefined> {
  const offer = await rule.offer(triesLeft);
  return 'pin' in offer ? Buffer.from(offer.pin).toString() : undefined;
}

describe('a PIN', () => {
  test('is the content of the file without the newline at its end', async () => {
    expect(await offered()).toBe('1234');
    content = '12 34\r\n\n';
    expect(await offered()).toBe('12 34');
  });

  test('that was called wrong is not tried again, until the file holds another one', async () => {
    await offered();
    rule.learn({ outcome: 'wrong' });
    expect(await offered()).toBeUndefined();
    content = '1234';
    expect(await offered(), 'the same PIN without its newline is the same PIN').toBeUndefined();
    content = '5678';
    expect(await offered()).toBe('5678');
  });

  test('that was met with a lock or with a broken token is tried again', async () => {
    for (const outcome of ['locked', 'expired', 'failed'] as const) {
      await offered();
      rule.learn({ outcome });
      expect(await offered()).toBe('1234');
    }
  });

  test('is not tried with the last try, unless it was good before', async () => {
    expect(await offered(1)).toBeUndefined();
    expect(await offered(null)).toBe('1234');
    rule.learn({ outcome: 'good' });
    expect(await offered(1)).toBe('1234');
    content = '5678';
    expect(await offered(1)).toBeUndefined();
  });
});
