import { independentRatio, ratioOf, spreadOf, type Figure, type Spread } from './figure.js';
import { referenceName } from './subject.js';

/** The figures with their spread, each beside the reference's of this run and, where there is one, that of an earlier run. */
export function table(figures: readonly Figure[], earlier: readonly Figure[] | undefined): string {
  const rows = figures.map((figure) => {
    const same = (other: Figure): boolean => other.name === figure.name;
    const reference = figures.find((other) => other.subject === referenceName && same(other));
    const before = earlier?.find((other) => other.subject === figure.subject && same(other));
    return [
      figure.name,
      figure.subject,
      `${spread(spreadOf(figure.values))} ${figure.unit}`,
      reference === undefined || reference === figure ? '' : spread(ratioOf(figure, reference)),
      ...(earlier === undefined ? [] : [before === undefined ? 'new' : spread(independentRatio(figure, before))]),
      figure.subject === referenceName ? '' : (figure.target ?? ''),
    ];
  });
  const head = [
    'what',
    'of',
    'median (lowest–highest)',
    '× reference',
    ...(earlier === undefined ? [] : ['× earlier']),
    'target',
  ];
  return aligned([head, ...rows]);
}

function spread({ median, low, high }: Spread): string {
  const [shown, lowest, highest] = [median, low, high].map(short);
  return lowest === highest ? String(shown) : `${shown} (${lowest}–${highest})`;
}

/** Three digits that count. */
function short(value: number): string {
  if (value === 0 || Number.isNaN(value)) return value.toString();
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return Math.abs(value) >= 100 ? Math.round(value).toLocaleString('en') : value.toFixed(Math.min(digits, 3));
}

function aligned(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
