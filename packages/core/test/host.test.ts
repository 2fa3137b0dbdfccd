import { describe, expect, test } from 'vitest';
import { lendHost, LEFT_OUT, type Fact } from '../src/host.js';

/** What arrives of a report. */
function reported(fact: unknown): readonly Fact[] {
  const facts: Fact[] = [];
  lendHost('vault', (arrived) => facts.push(arrived), new AbortController().signal).report(fact as Fact);
  return facts;
}

describe('a report', () => {
  test.each<Fact>([
    { kind: 'credential-expiry', at: new Date(0) },
    { kind: 'credential-expiry', at: undefined },
    { kind: 'gauge', name: 'sessions_open', value: 0 },
    { kind: 'advice', text: 'Rotate the key.' },
  ])('%j arrives as it is', (fact) => {
    expect(reported(fact)).toEqual([fact]);
  });

  test.each([
    ['a date of nothing', { kind: 'credential-expiry', at: new Date('n/a') }, '"at"'],
    ['a date that is a number', { kind: 'credential-expiry', at: 1 }, '"at"'],
    ['no date at all', { kind: 'credential-expiry', at: null }, '"at"'],
    ['a figure that is text', { kind: 'gauge', name: 'sessions', value: '3' }, '"value"'],
    ['a figure of nothing', { kind: 'gauge', name: 'sessions', value: NaN }, '"value"'],
    ['a name that no metric can have', { kind: 'gauge', name: 'Sessions-Open', value: 3 }, '"name"'],
    ['an advice of two lines', { kind: 'advice', text: 'one\ntwo' }, '"text"'],
    ['an advice without text', { kind: 'advice' }, '"text"'],
    ['an unknown kind', { kind: 'warning', text: 'x' }, '"kind"'],
    ['nothing', undefined, '"kind"'],
  ])('of %s is left out, and an advice says why', (_what, fact, said) => {
    const [advice, ...others] = reported(fact);
    expect(others).toEqual([]);
    expect(advice).toEqual({ kind: 'advice', text: expect.stringContaining(said) as string });
    expect(advice?.kind === 'advice' && advice.text.startsWith(LEFT_OUT)).toBe(true);
  });
});
