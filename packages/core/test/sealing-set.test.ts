import { describe, expect, test } from 'vitest';
import { membersToSealUnder, type Candidate } from '../src/sealing-set.js';

const RULE = { startMs: 10, completeMs: 300 };
const A: Candidate = { name: 'a', required: false, ready: true, kekId: 'a/1' };
const B: Candidate = { name: 'b', required: false, ready: true, kekId: 'b/1' };
const away = (candidate: Candidate): Candidate => ({ ...candidate, ready: false });
const required = (candidate: Candidate): Candidate => ({ ...candidate, required: true });
const rotated = (candidate: Candidate): Candidate => ({ ...candidate, kekId: `${candidate.name}/2` });
const record = ({ name, kekId }: Candidate) => ({ keyName: name, kekId: kekId ?? '' });

const START = {
  sealed: undefined,
  stale: false,
  lost: false,
  sinceStartMs: 0,
  completeForMs: undefined,
};
/** A local key is sealed under these. */
const sealedUnder = (...candidates: readonly Candidate[]) => ({
  ...START,
  sealed: candidates.map(record),
  sinceStartMs: 1_000,
});

describe('the first local key', () => {
  test('is wrapped at once when every key is well', () => {
    expect(membersToSealUnder([A, B], START, RULE)).toEqual(['a', 'b']);
  });

  test('waits for a key that is away, and then does without it, required or not', () => {
    expect(membersToSealUnder([A, away(B)], START, RULE)).toEqual([]);
    expect(membersToSealUnder([A, away(B)], { ...START, sinceStartMs: 10 }, RULE)).toEqual(['a']);
    expect(membersToSealUnder([A, required(away(B))], { ...START, sinceStartMs: 10 }, RULE)).toEqual(['a']);
  });

  test('is wrapped under a recover key alone when the writer is away', () => {
    expect(membersToSealUnder([away(A), B], { ...START, sinceStartMs: 10 }, RULE)).toEqual(['b']);
  });

  test('cannot be made while every key is away', () => {
    expect(membersToSealUnder([away(A), away(B)], { ...START, sinceStartMs: 99 }, RULE)).toEqual([]);
  });
});

describe('a set that is as the config wants it', () => {
  test('stays, and stays too when a key goes away', () => {
    expect(membersToSealUnder([A, B], sealedUnder(A, B), RULE)).toEqual([]);
    expect(membersToSealUnder([A, away(B)], sealedUnder(A, B), RULE)).toEqual([]);
  });
});

describe('a key that was away at the start', () => {
  test('joins when the set has been complete for long enough', () => {
    expect(membersToSealUnder([A, B], { ...sealedUnder(A), completeForMs: 299 }, RULE)).toEqual([]);
    expect(membersToSealUnder([A, B], { ...sealedUnder(A), completeForMs: 300 }, RULE)).toEqual(['a', 'b']);
  });
});

describe('a rotation', () => {
  test('makes a new local key at once', () => {
    expect(membersToSealUnder([rotated(A), B], sealedUnder(A, B), RULE)).toEqual(['a', 'b']);
    expect(membersToSealUnder([A, rotated(B)], sealedUnder(A, B), RULE)).toEqual(['a', 'b']);
  });

  test('never shrinks the set: it waits for a key of the set that is away', () => {
    expect(membersToSealUnder([rotated(A), away(B)], sealedUnder(A, B), RULE)).toEqual([]);
  });

  test('does not wait for a key that is not in the set, unless that is required', () => {
    expect(membersToSealUnder([rotated(A), away(B)], sealedUnder(A), RULE)).toEqual(['a']);
    expect(membersToSealUnder([rotated(A), required(away(B))], sealedUnder(A), RULE)).toEqual([]);
  });
});

describe('a change of the config', () => {
  test('that takes a key out makes a local key without it', () => {
    expect(membersToSealUnder([A], sealedUnder(A, B), RULE)).toEqual(['a']);
  });

  test('that moves the writing to another key makes a local key under that', () => {
    expect(membersToSealUnder([B], sealedUnder(A), RULE)).toEqual(['b']);
  });

  test('that asks for another id makes one under the same keys', () => {
    expect(membersToSealUnder([A], { ...sealedUnder(A), stale: true }, RULE)).toEqual(['a']);
  });
});

test('a lost record is left at once, with whatever keys are well', () => {
  expect(membersToSealUnder([rotated(A), away(B)], { ...sealedUnder(A, B), lost: true }, RULE)).toEqual(['a']);
});
