import assert from 'node:assert/strict';
import { isBackendError, type BackendErrorCode } from '../backend-error.js';
import type { WrappedKey } from '../backend.js';
import type { Rule } from './rule.js';
import { causedBy } from './stage.js';

const WORKERS = 16;
const GONE_OR_INVALID: readonly BackendErrorCode[] = ['key-not-found', 'invalid-ciphertext'];

/** Versions of a KEK. All rules together rotate six times: some services allow no more than ten. */
export const rotationRules: readonly Rule[] = [
  {
    name: 'rotation: the KEK id changes with the version, at once, and older versions still unwrap',
    needs: ['rotate'],
    async run(stage) {
      const { backend } = await stage.open();
      const plaintext = stage.plaintext();
      const older = await stage.wrap(backend, plaintext);
      assert.equal(await stage.kekId(backend), older.kekId, 'wrap and currentKekId name two versions');
      await stage.befall('rotate');
      const kekId = await stage.kekId(backend);
      assert.notEqual(kekId, older.kekId, 'a rotation does not change the KEK id: it names a key, not a version');
      const newer = await stage.wrap(backend, plaintext);
      assert.equal(newer.kekId, kekId, 'wrap and currentKekId name two versions after a rotation');
      await stage.unwrapsTo(backend, older, plaintext);
      await stage.unwrapsTo(backend, newer, plaintext);
      assert.equal(await stage.kekId(backend), kekId, 'the KEK id changes again, and nothing rotated');
    },
  },
  {
    name: 'rotation: a version that an instance has not seen yet unwraps',
    needs: ['rotate'],
    async run(stage) {
      const early = await stage.open();
      await stage.roundTrip(early.backend);
      await stage.befall('rotate');
      const late = await stage.open();
      const plaintext = stage.plaintext();
      const wrapped = await stage.wrap(late.backend, plaintext);
      await stage.unwrapsTo(early.backend, wrapped, plaintext);
    },
  },
  {
    name: 'rotation: a KEK id that names another version does not unwrap',
    needs: ['rotate'],
    async run(stage) {
      const { backend } = await stage.open();
      const older = await stage.roundTrip(backend);
      await stage.befall('rotate');
      const newer = await stage.roundTrip(backend);
      for (const [what, wrapped] of [
        ['an older ciphertext with the KEK id of the newer version', { ...older, kekId: newer.kekId }],
        ['a newer ciphertext with the KEK id of the older version', { ...newer, kekId: older.kekId }],
      ] as const)
        await stage.failureOf(`unwrap of ${what}`, (signal) => backend.unwrap(wrapped, signal), GONE_OR_INVALID);
    },
  },
  {
    name: 'rotation: wraps that race with it name the version that they used',
    needs: ['rotate'],
    async run(stage) {
      const { backend } = await stage.open();
      const before = await stage.kekId(backend);
      const made: { readonly plaintext: Uint8Array; readonly wrapped: WrappedKey }[] = [];
      let rotated = false;
      const work = async (index: number) => {
        // Out of step with the others: where all stand between two wraps at the same moment, none races.
        if (index % 2 === 1) await stage.kekId(backend);
        for (let after = 0; after < 2; after += rotated ? 1 : 0) {
          const plaintext = stage.plaintext();
          made.push({ plaintext, wrapped: await stage.wrap(backend, plaintext) });
        }
      };
      const workers = Promise.all(Array.from({ length: WORKERS }, (_, index) => work(index)));
      workers.catch(() => undefined);
      // Rotates only once the workers are under way.
      await Promise.race([stage.wrap(backend, stage.plaintext()), workers]);
      try {
        await stage.befall('rotate');
      } finally {
        rotated = true;
        await workers;
      }
      const after = await stage.kekId(backend);
      assert.notEqual(after, before, 'the KEK id did not change');
      for (const { plaintext, wrapped } of around(made, after)) {
        assert.ok([before, after].includes(wrapped.kekId), `wrap named neither version, but ${wrapped.kekId}`);
        try {
          await stage.unwrapsTo(backend, wrapped, plaintext);
        } catch (error) {
          if (!isBackendError(error) || !GONE_OR_INVALID.includes(error.code)) throw error;
          throw causedBy(
            error,
            `wrap named ${wrapped.kekId}, and what it wrapped does not unwrap with that id: take the version from the answer of this very wrap`,
          );
        }
      }
      assert.equal((await stage.wrap(backend, stage.plaintext())).kekId, after, 'wrap goes on with the older version');
    },
  },
  {
    name: 'rotation: a destroyed version fails with key-not-found, and what the newer wrapped needs no other',
    needs: ['rotate', 'destroyOldVersion'],
    async run(stage) {
      const { backend } = await stage.open();
      const older = await stage.roundTrip(backend);
      await stage.befall('rotate');
      const plaintext = stage.plaintext();
      const newer = await stage.wrap(backend, plaintext);
      await stage.befall('destroyOldVersion');
      const what = 'unwrap of what a destroyed version wrapped';
      await stage.failureOf(what, (signal) => backend.unwrap(older, signal), ['key-not-found']);
      await stage.unwrapsTo(backend, newer, plaintext);
      await stage.roundTrip(backend);
    },
  },
  {
    name: 'rotation: what a replaced KEK wrapped is refused, and never makes another plaintext',
    needs: ['replaceKek'],
    async run(stage) {
      const { backend } = await stage.open();
      const older = await stage.roundTrip(backend);
      await stage.befall('replaceKek');
      await stage.failureOf(
        'unwrap of what the replaced KEK wrapped',
        (signal) => backend.unwrap(older, signal),
        GONE_OR_INVALID,
      );
      await stage.recovers(backend, 'replaceKek');
    },
  },
];

/** The wraps that ended just before and after the first answer of the new version and the last of the older: all would be too many. */
function around<T extends { readonly wrapped: WrappedKey }>(made: readonly T[], newer: string): readonly T[] {
  const turns = [
    made.findIndex(({ wrapped }) => wrapped.kekId === newer),
    made.findLastIndex(({ wrapped }) => wrapped.kekId !== newer),
  ];
  return made.filter((_, index) => turns.some((turn) => Math.abs(index - turn) <= WORKERS));
}
