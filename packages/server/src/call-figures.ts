/** How many calls ended with which code, and how long they took. */
export class CallFigure {
  readonly counts = new Map<string, number>();
  /** How many took as long as each bound or less, and longer than the one before; the last place is for those beyond all bounds. */
  readonly buckets: number[];
  totalSeconds = 0;
  readonly #boundsSeconds: readonly number[];

  /** @param boundsSeconds - ascending */
  constructor(boundsSeconds: readonly number[]) {
    this.#boundsSeconds = boundsSeconds;
    this.buckets = [...boundsSeconds, Infinity].map(() => 0);
  }

  record(code: string, seconds: number): void {
    this.counts.set(code, (this.counts.get(code) ?? 0) + 1);
    this.totalSeconds += seconds;
    let index = 0;
    while (seconds > (this.#boundsSeconds[index] ?? Infinity)) index += 1;
    this.buckets[index] = (this.buckets[index] ?? 0) + 1;
  }
}

/** A figure for each combination of labels. Ours, as each RPC goes through it: a library's labels are looked up by name for every call. */
export class CallFigures<Label extends string> {
  readonly #figures = new Map<string, readonly [labels: Readonly<Record<Label, string>>, figure: CallFigure]>();
  readonly boundsSeconds: readonly number[];

  constructor(boundsSeconds: readonly number[]) {
    this.boundsSeconds = boundsSeconds;
  }

  /** The figure of these labels: the same one each time. */
  of(labels: Readonly<Record<Label, string>>): CallFigure {
    const id = JSON.stringify(Object.values(labels));
    const known = this.#figures.get(id);
    if (known !== undefined) return known[1];
    const figure = new CallFigure(this.boundsSeconds);
    this.#figures.set(id, [labels, figure]);
    return figure;
  }

  [Symbol.iterator](): Iterator<readonly [labels: Readonly<Record<Label, string>>, figure: CallFigure]> {
    return this.#figures.values();
  }
}
