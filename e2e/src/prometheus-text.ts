/** One line of a metrics page. */
export interface Sample {
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly value: number;
}

/** A metrics page in Prometheus' text format, at one moment. */
export class Metrics {
  readonly #samples: readonly Sample[];

  constructor(text: string) {
    this.#samples = text.split('\n').flatMap(parseLine);
  }

  /** The samples of `name` that carry all of `labels`. */
  select(name: string, labels: Readonly<Record<string, string>> = {}): readonly Sample[] {
    return this.#samples.filter(
      (sample) =>
        sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels.get(key) === value),
    );
  }

  /** Their sum; 0 when there are none, as for a counter that nothing has counted yet. */
  sum(name: string, labels: Readonly<Record<string, string>> = {}): number {
    return this.select(name, labels).reduce((total, sample) => total + sample.value, 0);
  }
}

function parseLine(line: string): Sample[] {
  const [, name, labels, value] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line) ?? [];
  if (name === undefined || value === undefined) return [];
  const pairs = [...(labels ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)];
  return [{ name, labels: new Map(pairs.map(([, key = '', text = '']) => [key, text])), value: Number(value) }];
}
