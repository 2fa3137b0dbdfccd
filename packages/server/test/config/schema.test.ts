import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { configSchema } from '../../src/config/schema.js';

const good = { version: 1, cluster: 'prod-1', keys: [{ name: 'prod', backend: 'local', config: {} }] };
const accepts = (sections: object) => configSchema.safeParse({ ...good, ...sections }).success;
const withKey = (key: object) => ({ keys: [{ ...good.keys[0], ...key }] });

test('the smallest config is a cluster and a key', () => {
  expect(accepts({})).toBe(true);
});

test.each<[string, readonly object[], readonly object[]]>([
  ['version', [{ version: 1 }], [{ version: 2 }, { version: '1' }, { version: undefined }]],
  [
    'cluster',
    [{ cluster: 'a' }, { cluster: 'Prod_1.eu-west' }, { cluster: 'a'.repeat(128) }],
    [
      { cluster: '' },
      { cluster: '-a' },
      { cluster: 'a ' },
      { cluster: 'ä' },
      { cluster: 'a'.repeat(129) },
      { cluster: 1 },
    ],
  ],
  ['generation', [{ generation: 1 }, { generation: 9 }], [{ generation: 0 }, { generation: 1.5 }, { generation: '2' }]],
  [
    'the name of a key',
    ['a', 'prod-2', 'a'.repeat(63)].map((name) => withKey({ name })),
    ['', '-a', 'a-', 'A', 'a.b', 'a:b', 'a'.repeat(64)].map((name) => withKey({ name })),
  ],
  [
    'socket.path',
    ['/a', `/${'a'.repeat(99)}`].map((path) => ({ socket: { path } })),
    ['', 'a', './a', '@a', '\0a', `/${'a'.repeat(100)}`, `/${'ä'.repeat(60)}`].map((path) => ({ socket: { path } })),
  ],
  [
    'socket.mode',
    ['0600', '0660', '0640', '0000'].map((mode) => ({ socket: { mode } })),
    ['0666', '0601', '0777', '600', '00600', '0o600', 'rw', 600, 0o600].map((mode) => ({ socket: { mode } })),
  ],
  [
    'socket.group',
    [{ socket: { group: 'kms' } }, { socket: { group: 0 } }],
    [{ socket: { group: '' } }, { socket: { group: -1 } }],
  ],
  [
    'http.address',
    ['127.0.0.1:9412', 'localhost:1', '[::1]:65535', '0.0.0.0:9412'].map((address) => ({ http: { address } })),
    ['9412', ':9412', '127.0.0.1', '127.0.0.1:', '127.0.0.1:65536', '127.0.0.1:99999', '::1:9412', 'a:b'].map(
      (address) => ({ http: { address } }),
    ),
  ],
  [
    'log.level',
    ['debug', 'info', 'warn', 'error'].map((level) => ({ log: { level } })),
    ['trace', 'silent', 'Info', ''].map((level) => ({ log: { level } })),
  ],
  [
    'traces.otlpEndpoint',
    ['http://127.0.0.1:4318/v1/traces', 'https://collector.example'].map((otlpEndpoint) => ({
      traces: { otlpEndpoint },
    })),
    ['', 'collector:4318', 'ftp://collector', 'file:///tmp/spans', 'unix:/run/spans'].map((otlpEndpoint) => ({
      traces: { otlpEndpoint },
    })),
  ],
  [
    'periods and limits',
    [{ probe: { intervalSeconds: 0.5 } }, { limits: { remoteCallSeconds: 300 } }],
    [
      { probe: { intervalSeconds: 0 } },
      { probe: { intervalSeconds: 3601 } },
      { publish: { quietSeconds: -1 } },
      { limits: { remoteCallSeconds: 301 } },
      { limits: { unwrapConcurrency: 0 } },
      { limits: { heldLocalKeys: 1.5 } },
      { limits: { waitingDecrypts: Infinity } },
    ],
  ],
  ['keys', [withKey({ role: 'write' })], [{ keys: [] }, { keys: {} }, { keys: undefined }, withKey({ backend: '' })]],
])('%s', (_section, accepted, refused) => {
  for (const sections of accepted) expect(accepts(sections), JSON.stringify(sections)).toBe(true);
  for (const sections of refused) expect(accepts(sections), JSON.stringify(sections)).toBe(false);
});

test('a socket has a path in the file system: no abstract one is taken', () => {
  for (const path of ['@sealwax', '\0sealwax', 'unix:///@sealwax'])
    expect(accepts({ socket: { path } }), path).toBe(false);
});

describe('every section', () => {
  /** Every object of the schema that has properties, with its path. */
  function* objects(schema: unknown, where = ''): Generator<[string, Record<string, unknown>]> {
    if (typeof schema !== 'object' || schema === null) return;
    if ('properties' in schema) yield [where, schema];
    for (const [step, inner] of Object.entries(schema)) yield* objects(inner, `${where}/${step}`);
  }
  const all = [...objects(z.toJSONSchema(configSchema, { io: 'input' }))];

  test('refuses unknown keys', () => {
    expect(all.length).toBeGreaterThan(5);
    for (const [where, schema] of all) expect(schema['additionalProperties'], where).toBe(false);
  });

  test('describes each of its keys', () => {
    // A section of the file is described by its keys, and the version by itself.
    const isSection = (where: string, { type }: { type?: string }) =>
      where === '' && (type === 'object' || type === 'array');
    for (const [where, { properties }] of all) {
      for (const [name, property] of Object.entries(
        properties as Record<string, { description?: string; type?: string }>,
      )) {
        if (isSection(where, property) || (where === '' && name === 'version')) continue;
        expect(property.description, `${where}/${name}`).toMatch(/\S/);
      }
    }
  });
});
