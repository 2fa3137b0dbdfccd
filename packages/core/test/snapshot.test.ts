import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { LocalKey } from '../src/local-key.js';
import { SnapshotPublisher, type Snapshot } from '../src/snapshot.js';

const RULE = { quietMs: 5_000, latestMs: 60_000 };

const snapshot = (keyId: string): Snapshot => ({
  keyId,
  localKey: LocalKey.generate(),
  records: [],
  annotation: new Uint8Array(),
});

let published: [keyId: string, previousKeyId: string | undefined][];
let publisher: SnapshotPublisher;

beforeEach(() => {
  vi.useFakeTimers();
  published = [];
  publisher = new SnapshotPublisher(RULE, (current, previous) => {
    published.push([current.keyId, previous?.keyId]);
  });
});

afterEach(() => {
  publisher.close();
  vi.useRealTimers();
});

const currentId = () => publisher.current?.keyId;

test('there is none before the first is offered', () => {
  expect(publisher.current).toBeUndefined();
  expect(publisher.newest).toBeUndefined();
});

test('the first is published at once, also right after a Status', () => {
  publisher.statusAnswered();
  publisher.offer(snapshot('a'));
  expect(currentId()).toBe('a');
  expect(published).toEqual([['a', undefined]]);
});

test('a later one is published at once when there was no Status for 5 s', () => {
  publisher.offer(snapshot('a'));
  publisher.statusAnswered();
  vi.advanceTimersByTime(5_000);
  publisher.offer(snapshot('b'));
  expect(currentId()).toBe('b');
});

test('a later one is published at once when there never was a Status', () => {
  publisher.offer(snapshot('a'));
  publisher.offer(snapshot('b'));
  expect(published).toEqual([
    ['a', undefined],
    ['b', 'a'],
  ]);
});

test('a later one waits until the last Status is 5 s old, to the millisecond', () => {
  publisher.offer(snapshot('a'));
  publisher.statusAnswered();
  vi.advanceTimersByTime(2_000);
  publisher.offer(snapshot('b'));
  vi.advanceTimersByTime(2_999);
  expect(currentId()).toBe('a');
  vi.advanceTimersByTime(1);
  expect(currentId()).toBe('b');
});

test('each Status begins the 5 s anew', () => {
  publisher.offer(snapshot('a'));
  publisher.statusAnswered();
  publisher.offer(snapshot('b'));
  for (let polls = 0; polls < 5; polls += 1) {
    vi.advanceTimersByTime(4_999);
    expect(currentId()).toBe('a');
    publisher.statusAnswered();
  }
  vi.advanceTimersByTime(5_000);
  expect(currentId()).toBe('b');
});

test('it is published 60 s after it was offered, however often Status is asked', () => {
  publisher.offer(snapshot('a'));
  publisher.statusAnswered();
  publisher.offer(snapshot('b'));
  for (let seconds = 1; seconds < 60; seconds += 1) {
    vi.advanceTimersByTime(1_000);
    publisher.statusAnswered();
    expect(currentId()).toBe('a');
  }
  vi.advanceTimersByTime(999);
  expect(currentId()).toBe('a');
  vi.advanceTimersByTime(1);
  expect(currentId()).toBe('b');
});

test('one that replaces another that waits takes over its waiting time, and the other is never published', () => {
  publisher.offer(snapshot('a'));
  const poll = setInterval(() => {
    publisher.statusAnswered();
  }, 1_000);
  publisher.statusAnswered();
  publisher.offer(snapshot('b'));
  vi.advanceTimersByTime(40_000);
  publisher.offer(snapshot('c'));
  vi.advanceTimersByTime(19_999);
  expect(currentId()).toBe('a');
  vi.advanceTimersByTime(1);
  clearInterval(poll);
  expect(currentId()).toBe('c');
  expect(published).toEqual([
    ['a', undefined],
    ['c', 'a'],
  ]);
});

test('the one whose place is taken is given back, one that was published never', () => {
  const [a, b, c] = [snapshot('a'), snapshot('b'), snapshot('c')];
  expect(publisher.offer(a)).toBeUndefined();
  publisher.statusAnswered();
  expect(publisher.offer(b)).toBeUndefined();
  expect(publisher.offer(c)).toBe(b);
});

test('the waiting time of a published one is not taken over', () => {
  publisher.offer(snapshot('a'));
  publisher.statusAnswered();
  publisher.offer(snapshot('b'));
  vi.advanceTimersByTime(5_000);
  expect(currentId()).toBe('b');
  vi.advanceTimersByTime(3_600_000);
  publisher.statusAnswered();
  publisher.offer(snapshot('c'));
  vi.advanceTimersByTime(4_999);
  expect(currentId()).toBe('b');
  vi.advanceTimersByTime(1);
  expect(currentId()).toBe('c');
});

test('the newest is the one that waits, else the current one', () => {
  publisher.offer(snapshot('a'));
  expect(publisher.newest?.keyId).toBe('a');
  publisher.statusAnswered();
  publisher.offer(snapshot('b'));
  expect(publisher.newest?.keyId).toBe('b');
  expect(currentId()).toBe('a');
});

test('after close, what waited is not published and no timer is left', () => {
  publisher.offer(snapshot('a'));
  publisher.statusAnswered();
  publisher.offer(snapshot('b'));
  expect(vi.getTimerCount()).toBe(1);
  publisher.close();
  expect(vi.getTimerCount()).toBe(0);
  vi.advanceTimersByTime(120_000);
  expect(currentId()).toBe('a');
});
