import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { ANNOTATION_NAME, FORMAT } from '../src/envelope.js';
import { vectors } from './vectors.js';

const page = readFileSync(new URL('../../../docs/envelope.md', import.meta.url), 'utf8');

/** The values of the page's worked example: hexadecimal without blanks and remarks, or what stands in quotes. */
function readWorkedExample(): ReadonlyMap<string, string> {
  const [, block] = /## Worked example\n.*?```text\n(.*?)\n```/s.exec(page) ?? [];
  const values = new Map<string, string>();
  for (const paragraph of (block ?? '').split('\n\n')) {
    const [heading, ...lines] = paragraph.split('\n');
    const content = lines
      .map((line) => line.replace(/#.*/, ''))
      .join('')
      .replaceAll(/\s/g, '')
      .replace('<annotation>', () => values.get('annotation') ?? '');
    values.set(heading!.replace(/:$/, ''), content.replace(/^"(.*)"$/, '$1'));
  }
  return values;
}

const example = readWorkedExample();
const vector = vectors.find(({ name }) => name === 'one record')!.text;

describe('the worked example in docs/envelope.md', () => {
  test.each([
    ['local key', vector.localKey],
    ['seal key', vector.sealKey],
    ['commitment', vector.commitment],
    ['annotation', vector.annotation],
    ['key id hash input', vector.keyIdHashInput],
    ['key id hash', vector.keyIdHash],
    ['key id', vector.keyId],
    ['AAD', vector.aad],
    ['nonce', vector.nonce],
    ['seed', vector.seed],
    ['ciphertext', vector.ciphertext],
  ])('has the %s of the vector', (name, expected) => {
    expect(example.get(name)).toBe(expected);
  });

  test('has no other value', () => {
    expect(example.size).toBe(11);
  });

  test('says in words what the vector holds', () => {
    const [, text] = /## Worked example\n\n(.*?)```/s.exec(page)!;
    expect(text).toContain(
      `Cluster \`${vector.cluster}\`, generation ${vector.generation}, one key named \`${vector.writer}\``,
    );
    const remarks = page.slice(page.indexOf('## Worked example'));
    const { keyName, kekId, ciphertext } = vector.records[0]!;
    expect(remarks).toContain(`key name, ${keyName.length} bytes: ${keyName}\n`);
    expect(remarks).toContain(`KEK id, ${kekId.length} bytes: ${kekId}\n`);
    expect(remarks).toContain(`ciphertext, ${ciphertext.length / 2} bytes\n`);
  });
});

test('the page names format, annotation, labels and limits as the code has them', () => {
  expect(FORMAT).toBe(1);
  for (const name of [ANNOTATION_NAME, 'sealwax/1/seal', 'sealwax/1/commitment', 'sealwax/key-id']) {
    expect(page).toContain(`\`${name}\``);
  }
});

test('the page quotes the message as the .proto file has it', () => {
  const proto = readFileSync(new URL('../proto/sealwax/envelope/v1/annotation.proto', import.meta.url), 'utf8');
  const withoutRemarks = (text: string) =>
    text
      .replaceAll(/\/\/.*/g, '')
      .split(/\s+/)
      .filter((word) => word !== '')
      .join(' ');
  const [, quoted] = /```proto\n(.*?)```/s.exec(page)!;
  expect(withoutRemarks(proto)).toContain(withoutRemarks(quoted!));
});

test('the links of the page lead to files', () => {
  const links = [...page.matchAll(/\]\((\.\.?\/[^)#]+)/g)].map(([, link]) => link!);
  expect(links.length).toBeGreaterThan(0);
  for (const link of links) {
    expect(() => readFileSync(new URL(link, new URL('../../../docs/', import.meta.url)))).not.toThrow();
  }
});
