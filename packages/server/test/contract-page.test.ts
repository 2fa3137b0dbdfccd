import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';

const root = new URL('../../../', import.meta.url);
const page = readFileSync(new URL('docs/contract.md', root), 'utf8');

/** The tests that a page names: `file`: “name”. */
const named = [...page.matchAll(/`([^`\s]+\.test\.ts)`: “([^”]+)”/g)].map(([, file, name]) => ({
  file: file!,
  name: name!,
}));

test('every rule names a test', () => {
  const rules = page
    .split('\n## ')
    .filter((section) => section.includes('| rule | source | test |'))
    .flatMap((section) => section.split('\n').filter((line) => line.startsWith('| ') && !line.startsWith('| rule')));
  expect(rules.length).toBeGreaterThan(25);
  for (const rule of rules) expect(rule).toMatch(/`[^`]+\.test\.ts`: “[^”]+”.*\|$/);
});

describe('every test that the page names exists', () => {
  test.each(named)('$file: $name', ({ file, name }) => {
    const source = readFileSync(new URL(file, root), 'utf8');
    const literals = ["'", '"', '`'].map((quote) => `${quote}${name.replaceAll(quote, `\\${quote}`)}${quote}`);
    expect(literals.some((literal) => source.includes(literal))).toBe(true);
  });

  test('the page mentions no test file without a test', () => {
    expect(page.match(/\.test\.ts/g)).toHaveLength(named.length);
  });
});

test('its links lead to files', () => {
  for (const [, target] of page.matchAll(/\]\((?!https:)([^)#]+)(#[^)]*)?\)/g)) {
    expect(existsSync(new URL(`docs/${target!}`, root)), target).toBe(true);
  }
});
