import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import type { BackendErrorCode } from '../backend-error.js';
import type { Faults } from './harness.js';
import type { Rule } from './rule.js';

const REFUSED: readonly BackendErrorCode[] = ['invalid-ciphertext', 'key-not-found', 'permission-denied'];

/** A fault during which the KEK id may still be told, but never less than whole. */
const wholeUnder = (fault: keyof Faults): Rule => ({
  name: `kek id: is whole or an error during ${fault}`,
  needs: [fault],
  async run(stage) {
    const { backend } = await stage.open();
    const kekId = await stage.kekId(backend);
    await stage.befall(fault);
    const during = await stage
      .call('currentKekId', (signal) => backend.currentKekId(signal))
      .catch((error: unknown) => {
        if (error instanceof assert.AssertionError) throw error;
        return undefined;
      });
    assert.ok(during === undefined || during === kekId, 'the KEK id changed, and no version did');
    await stage.recovers(backend, fault);
    // A new key may stand in the place of a deleted one, but these faults touch no key.
    assert.equal(await stage.kekId(backend), kekId, 'the KEK id is another afterwards, and no version changed');
  },
});

/** What names the version. */
export const kekIdRules: readonly Rule[] = [
  {
    name: 'kek id: wrap and currentKekId name the same version, the same each time and in each instance',
    async run(stage) {
      const [one, other] = [await stage.open(), await stage.open()];
      const kekId = await stage.kekId(one.backend);
      for (const { backend } of [one, other, one]) {
        assert.equal(await stage.kekId(backend), kekId, 'currentKekId changed without a rotation');
        assert.equal((await stage.wrap(backend, stage.plaintext())).kekId, kekId, 'wrap names another version');
      }
    },
  },
  wholeUnder('deny'),
  wholeUnder('disable'),
  wholeUnder('outage'),
  {
    name: 'kek id: one that is not of this key is refused, and nobody else is asked',
    async run(stage) {
      const { backend } = await stage.open();
      const plaintext = stage.plaintext();
      const wrapped = await stage.wrap(backend, plaintext);
      const elsewhere = await listenElsewhere();
      try {
        for (const kekId of foreign(wrapped.kekId, elsewhere.address)) {
          const shown = kekId.length > 100 ? `${kekId.slice(0, 100)}…` : kekId;
          const what = `unwrap with the KEK id ${JSON.stringify(shown)}`;
          await stage.failureOf(what, (signal) => backend.unwrap({ ...wrapped, kekId }, signal), REFUSED);
          assert.equal(elsewhere.connections(), 0, `${what}: connected to the address that the KEK id names`);
        }
      } finally {
        await elsewhere.close();
      }
      await stage.unwrapsTo(backend, wrapped, plaintext);
    },
  },
];

/** KEK ids that are not `kekId`, though some would lead to the same key or to another host if they were put into an address. */
function foreign(kekId: string, address: string): string[] {
  const last = kekId.slice(kekId.lastIndexOf('/') + 1);
  const candidates = [
    '',
    ' ',
    'x',
    `x${kekId}`,
    `${kekId}x`,
    `${kekId} `,
    `${kekId}/`,
    `${kekId}/../${last}`,
    `${kekId}?x=1`,
    `${kekId}#x`,
    `${kekId}%00`,
    `${kekId}\n`,
    `${kekId}\u0000`,
    `./${kekId}`,
    `../${kekId}`,
    `../../../../etc/passwd`,
    `//${address}/${kekId}`,
    `http://${address}/${kekId}`,
    `https://${address}/${kekId}`,
    `${address}/${kekId}`,
    `https://${address}/keys/${last}`,
    // The host of an address inside the id, and its first segment, each replaced.
    kekId.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/]+/i, `$1${address}`),
    kekId.replace(/^([a-z][a-z0-9+.-]*:\/\/)/i, `$1${address}@`),
    kekId.replace(/^[^/]+\//, `${address}/`),
    kekId.replace(/[^/:]+:\d+/, address),
    'projects/x/locations/x/keyRings/x/cryptoKeys/x/cryptoKeyVersions/1',
    'arn:aws:kms:eu-central-1:111122223333:key/00000000-0000-0000-0000-000000000000',
    'x'.repeat(512),
    `${kekId}${'x'.repeat(4_096)}`,
  ];
  return [...new Set(candidates)].filter((candidate) => candidate !== kekId);
}

/** A listener on loopback that counts who comes. */
async function listenElsewhere(): Promise<{ address: string; connections: () => number; close: () => Promise<void> }> {
  let connections = 0;
  const server = createServer((socket) => {
    connections += 1;
    socket.on('error', () => undefined);
    socket.destroy();
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const bound = server.address();
  assert.ok(typeof bound === 'object' && bound !== null);
  return {
    address: `127.0.0.1:${bound.port}`,
    connections: () => connections,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
      }),
  };
}
