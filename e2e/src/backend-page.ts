import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { parse } from 'yaml';

const pages = path.resolve(import.meta.dirname, '../../docs/backends');

/** The headings that every page about a backend has, in this order. */
export const headings = [
  'Set it up',
  'Config',
  'Credentials',
  'KEK id and rotation',
  'Errors',
  'Calls and cost',
  'Limits and what could not be confirmed',
];

/** A page of `docs/backends/`, as far as a test can hold it against the code. */
export class BackendPage {
  readonly #text: string;

  private constructor(text: string) {
    this.#text = text;
  }

  static async read(name: string): Promise<BackendPage> {
    return new BackendPage(await readFile(path.join(pages, `${name}.md`), 'utf8'));
  }

  get headings(): readonly string[] {
    return [...this.#text.matchAll(/^## (.+)$/gm)].map(([, title = '']) => title);
  }

  /** The examples that are meant to be taken as they are. */
  get configs(): readonly unknown[] {
    return [...this.#text.matchAll(/^```yaml test\n([\s\S]*?)^```$/gm)].map(([, yaml = '']) => parse(yaml) as unknown);
  }

  /** What the table of a section names in one of its columns, without the code marks. */
  column(heading: string, index: number): readonly string[] {
    const section = this.#text.split(/^## /m).find((part) => part.startsWith(heading)) ?? '';
    const rows = section.split('\n').filter((line) => /^\|(?! *-)/.test(line));
    return rows.slice(1).map((row) => (row.split(/(?<!\\)\|/)[index + 1] ?? '').replaceAll('`', '').trim());
  }
}
