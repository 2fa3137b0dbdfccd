import { beforeEach, describe, expect, test } from 'vitest';
import { KekWatch } from '../src/kek-watch.js';

const commitment = new Uint8Array(32).fill(1);
const other = new Uint8Array(32).fill(2);
const V1 = { keyName: 'prod', kekId: 'v1', ciphertext: Uint8Array.of(1) };
const V2 = { ...V1, kekId: 'v2' };
const sample = { record: V1, commitment };

let watch: KekWatch;
let start: number;
beforeEach(() => {
  watch = new KekWatch(() => ({ oldVersionsMs: 3_600, probeIntervalMs: 60 }));
  watch.met([V1], commitment);
  // Whole, so that sums and differences are exact.
  start = Math.ceil(performance.now());
});

describe('a KEK is lost', () => {
  test('by three failures, each at least an interval after the one before', () => {
    expect(watch.failed(sample, start)).toBe(false);
    expect(watch.failed(sample, start + 1)).toBe(false);
    expect(watch.failed(sample, start + 60)).toBe(false);
    expect(watch.isLost('prod', 'v1')).toBe(false);
    expect(watch.failed(sample, start + 120)).toBe(true);
    expect(watch.isLost('prod', 'v1')).toBe(true);
    expect(watch.lost).toEqual([V1]);
  });

  test('once: further failures report nothing new', () => {
    for (const ms of [0, 60, 120]) watch.failed(sample, start + ms);
    expect(watch.failed(sample, start + 180)).toBe(false);
  });

  test('not when it opened in between', () => {
    watch.failed(sample, start);
    watch.failed(sample, start + 60);
    watch.passed(sample, start + 120);
    expect(watch.failed(sample, start + 180)).toBe(false);
  });

  test('not by an outage in between, which is no verdict', () => {
    watch.failed(sample, start);
    watch.failed(sample, start + 60);
    watch.postponed(sample, start + 120);
    expect(watch.failed(sample, start + 180)).toBe(true);
  });

  test('no longer once it opens again', () => {
    for (const ms of [0, 60, 120]) watch.failed(sample, start + ms);
    watch.passed(sample, start + 180);
    expect(watch.isLost('prod', 'v1')).toBe(false);
  });

  test('no longer once a local key was wrapped under what stands beneath its name now', () => {
    for (const ms of [0, 60, 120]) watch.failed(sample, start + ms);
    watch.proved(V1, other);
    expect(watch.isLost('prod', 'v1')).toBe(false);
  });
});

describe('a sample is due', () => {
  test('once in a while when its KEK is well, and with each interval when it failed', () => {
    expect(watch.due('prod', start + 3_000)).toEqual([]);
    expect(watch.due('prod', start + 3_700)).toEqual([sample]);
    watch.failed(sample, start + 3_700);
    expect(watch.due('prod', start + 3_750)).toEqual([]);
    expect(watch.due('prod', start + 3_760)).toEqual([sample]);
  });

  test('for its own key only', () => {
    expect(watch.due('dr', start + 9_999)).toEqual([]);
  });
});

test('each KEK has one sample: the first local key that was met', () => {
  watch.met([V1, V2], other);
  expect(watch.due('prod', start + 9_999)).toEqual(expect.arrayContaining([sample, { record: V2, commitment: other }]));
  expect(watch.due('prod', start + 9_999)).toHaveLength(2);
});

test('a remembered record that does not open takes the place of one that does', () => {
  const suspect = { record: { ...V1, ciphertext: Uint8Array.of(9) }, commitment: other };
  watch.suspect(suspect, start);
  expect(watch.failed(sample, start + 60)).toBe(false);
  expect(watch.failed(suspect, start + 60)).toBe(false);
  expect(watch.failed(suspect, start + 120)).toBe(true);
});
