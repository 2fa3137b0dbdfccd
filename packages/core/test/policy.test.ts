import { describe, expect, test } from 'vitest';
import type { BackendErrorCode } from '../src/backend-error.js';
import { isToBeWiped, refusedKeys, statusShape, troubleOf, type KeyHealth, type Policy } from '../src/policy.js';

const POLICY: Policy = { outage: { graceMs: 60, then: 'unready' }, refusal: { afterMs: 10, action: 'wipe' } };

const writer = (change: Partial<KeyHealth> = {}): KeyHealth => ({
  name: 'prod',
  seals: true,
  writes: true,
  outForMs: undefined,
  refusedForMs: undefined,
  lost: false,
  ...change,
});
const recover = (change: Partial<KeyHealth> = {}) => writer({ name: 'dr', writes: false, ...change });
const read = (change: Partial<KeyHealth> = {}) => recover({ name: 'old', seals: false, ...change });
const after = (then: Policy['outage']['then']): Policy => ({ ...POLICY, outage: { ...POLICY.outage, then } });

describe('what a code means for the local keys in memory', () => {
  test.each([
    ['unavailable', 'outage'],
    ['throttled', 'outage'],
    ['unauthenticated', 'outage'],
    ['internal', 'outage'],
    ['permission-denied', 'refusal'],
    ['key-disabled', 'refusal'],
    ['key-not-found', 'loss'],
    ['invalid-ciphertext', 'loss'],
  ] satisfies [BackendErrorCode, string][])('%s is an %s', (code, trouble) => {
    expect(troubleOf(code)).toBe(trouble);
  });
});

describe('an outage', () => {
  test('leaves Status ok for the grace period, and then does what the config says', () => {
    expect(statusShape([writer({ outForMs: 59 })], POLICY).kind).toBe('ok');
    expect(statusShape([writer({ outForMs: 60 })], after('stay-ok')).kind).toBe('ok');
    expect(statusShape([writer({ outForMs: 60 })], after('unready')).kind).toBe('unready');
    expect(statusShape([writer({ outForMs: 60 })], after('stop-writes')).kind).toBe('stop-writes');
  });

  test('of one of two keys that seal leaves Status ok', () => {
    expect(statusShape([writer({ outForMs: 99 }), recover()], POLICY).kind).toBe('ok');
    expect(statusShape([writer(), recover({ outForMs: 99 })], POLICY).kind).toBe('ok');
    expect(statusShape([writer({ outForMs: 99 }), recover({ outForMs: 99 })], POLICY).kind).toBe('unready');
  });

  test('of a key that only reads has no say in Status, nor has its health', () => {
    expect(statusShape([writer(), read({ outForMs: 99 })], POLICY).kind).toBe('ok');
    expect(statusShape([writer({ outForMs: 99 }), read()], POLICY).kind).toBe('unready');
  });
});

describe('a refusal', () => {
  test('counts when it has lasted, and stops writes', () => {
    expect(statusShape([writer({ refusedForMs: 9 })], POLICY).kind).toBe('ok');
    expect(statusShape([writer({ refusedForMs: 10 })], POLICY).kind).toBe('stop-writes');
  });

  test('of a recover key does not stop the writer', () => {
    expect(statusShape([writer(), recover({ refusedForMs: 99 })], POLICY).kind).toBe('ok');
  });

  test('of the writer stops writes though a recover key is well', () => {
    expect(statusShape([writer({ refusedForMs: 99 }), recover()], POLICY).kind).toBe('stop-writes');
  });

  test('wipes only where the config says so, and only what has lasted', () => {
    const report: Policy = { ...POLICY, refusal: { afterMs: 10, action: 'report' } };
    expect([...refusedKeys([writer({ refusedForMs: 10 })], POLICY)]).toEqual(['prod']);
    expect([...refusedKeys([writer({ refusedForMs: 9 })], POLICY)]).toEqual([]);
    expect([...refusedKeys([writer({ refusedForMs: 10 })], report)]).toEqual([]);
  });

  test('wipes no local key that another configured key opens', () => {
    const refused = new Set(['prod']);
    const configured = new Set(['prod', 'dr']);
    expect(isToBeWiped(['prod'], { refused, configured })).toBe(true);
    expect(isToBeWiped(['prod', 'dr'], { refused, configured })).toBe(false);
    expect(isToBeWiped(['prod', 'gone'], { refused, configured })).toBe(true);
    expect(isToBeWiped(['gone'], { refused, configured })).toBe(false);
  });
});

describe('a loss', () => {
  test('never wipes', () => {
    expect([...refusedKeys([writer({ lost: true })], POLICY)]).toEqual([]);
  });

  test('of every key that seals shows in Status, and writes go on', () => {
    expect(statusShape([writer({ lost: true })], POLICY).kind).toBe('unready');
    expect(statusShape([writer({ lost: true }), recover()], POLICY).kind).toBe('ok');
  });
});
