import { describe, expect, test } from 'vitest';
import { independentRatio, ratioOf, spreadOf, type Figure } from '../src/figure.js';
import { table } from '../src/table.js';

function figure(subject: string, values: readonly number[]): Figure {
  return { name: 'start', subject, unit: 'ms', values: [...values] };
}

describe('spreadOf', () => {
  test('the median of an even number of values lies between the two in the middle', () => {
    expect(spreadOf([40, 10, 20, 30])).toEqual({ median: 25, low: 10, high: 40 });
  });

  test('values are ordered as numbers', () => {
    expect(spreadOf([100, 9, 20]).median).toBe(20);
  });

  test('there is none of nothing', () => {
    expect(() => spreadOf([])).toThrow(RangeError);
  });
});

test('a slow round of the whole machine does not show in a ratio of one run', () => {
  expect(ratioOf(figure('sealwax', [20, 200, 20]), figure('reference', [10, 100, 10]))).toEqual({
    median: 2,
    low: 2,
    high: 2,
  });
});

test('a ratio to another run is as wide as both spreads allow', () => {
  expect(independentRatio(figure('sealwax', [10, 20, 30]), figure('sealwax', [5, 10, 20]))).toEqual({
    median: 2,
    low: 0.5,
    high: 6,
  });
});

test('the table sets each figure beside the reference of its run and beside the same one of an earlier run', () => {
  const now = [figure('reference', [10]), figure('sealwax', [20])];
  const text = table(now, [figure('reference', [10]), figure('sealwax', [16])]);
  expect(text.split('\n').map((line) => line.split(/ {2,}/))).toEqual([
    ['what', 'of', 'median (lowest–highest)', '× reference', '× earlier', 'target'],
    ['start', 'reference', '10.0 ms', '1.00'],
    ['start', 'sealwax', '20.0 ms', '2.00', '1.25'],
  ]);
});

test('a figure that an earlier run does not have is new', () => {
  expect(table([figure('sealwax', [20])], [])).toMatch(/new$/m);
});
