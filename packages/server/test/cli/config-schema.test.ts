import { beforeAll, describe, expect, test } from 'vitest';
import { BUILT_IN } from '../../src/load-backend.js';
import { sealwax } from '../command-line.js';

interface Schema {
  readonly type?: string;
  readonly const?: unknown;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly allOf?: readonly { readonly if: Schema; readonly then: Schema }[];
  readonly description?: string;
}

let schema: Schema & { readonly $schema: string };
beforeAll(async () => {
  const { code, out, err } = await sealwax(['config', 'schema']);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  schema = JSON.parse(out) as typeof schema;
});

describe('sealwax config schema', () => {
  test('is a JSON Schema of the file', () => {
    expect(schema.$schema).toMatch(/json-schema\.org/);
    expect(schema.required).toEqual(expect.arrayContaining(['version', 'cluster', 'keys']));
    expect(schema.properties!['socket']!.properties).toHaveProperty('mode');
  });

  test('asks for nothing that has a default', () => {
    for (const section of ['socket', 'http', 'log', 'generation']) expect(schema.required).not.toContain(section);
  });

  test('has the section of each built-in backend behind its name', () => {
    const sections = schema.properties!['keys']!.items!.allOf!;
    const names = sections.map((section) => section.if.properties!['backend']!.const);
    expect(names).toContain('local');
    // One whose package is not installed has no section.
    expect(Object.keys(BUILT_IN).filter((name) => names.includes(name))).toEqual(names);
    const local = sections.find((section) => section.if.properties!['backend']!.const === 'local')!;
    expect(local.then.properties!['config']).toMatchObject({
      type: 'object',
      required: ['path'],
      additionalProperties: false,
      properties: { path: { type: 'string', description: expect.stringContaining('sealwax local init') } },
    });
  });
});
