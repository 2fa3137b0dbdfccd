import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import type { BackendErrorCode } from '../backend-error.js';
import type { Faults } from './harness.js';
import type { Rule } from './rule.js';
import type { Stage } from './stage.js';

interface Expected {
  readonly fault: keyof Faults;
  readonly code: BackendErrorCode;
  /** Whether the current version can be told meanwhile: reading a version is another right than using it. */
  readonly versionMayBeRead: boolean;
}

const EXPECTED: readonly Expected[] = [
  { fault: 'outage', code: 'unavailable', versionMayBeRead: false },
  { fault: 'throttle', code: 'throttled', versionMayBeRead: false },
  { fault: 'expireCredential', code: 'unauthenticated', versionMayBeRead: false },
  { fault: 'deny', code: 'permission-denied', versionMayBeRead: true },
  { fault: 'disable', code: 'key-disabled', versionMayBeRead: true },
  { fault: 'deleteKey', code: 'key-not-found', versionMayBeRead: false },
];

const NO_WORD_OF_THE_KMS: readonly BackendErrorCode[] = ['unavailable', 'internal'];

/** A running instance: each call says what is wrong, and goes on as soon as it is mended. */
const running = ({ fault, code, versionMayBeRead }: Expected): Rule => ({
  name: `faults: during ${fault} every call fails with ${code}, and the same instance works again afterwards`,
  needs: [fault],
  async run(stage) {
    const { backend } = await stage.open();
    const plaintext = stage.plaintext();
    const earlier = await stage.wrap(backend, plaintext);
    // What was unwrapped before could be answered from a cache, which would hide the fault.
    await stage.unwrapsTo(backend, earlier, plaintext);
    await stage.befall(fault);
    const failures = [
      await stage.failureOf(`wrap during ${fault}`, (signal) => backend.wrap(plaintext, signal), [code]),
      await stage.failureOf(`unwrap during ${fault}`, (signal) => backend.unwrap(earlier, signal), [code]),
    ];
    if (!versionMayBeRead)
      failures.push(await stage.failureOf(`currentKekId during ${fault}`, (s) => backend.currentKekId(s), [code]));
    for (const { retryAfterMs } of failures) {
      const told = retryAfterMs === undefined || (Number.isFinite(retryAfterMs) && retryAfterMs >= 0);
      assert.ok(
        told,
        `during ${fault}: retryAfterMs must be a finite number of milliseconds, 0 or more, or undefined; is ${inspect(retryAfterMs)}`,
      );
    }
    await stage.recovers(backend, fault);
    // A key that was deleted may be another one now.
    if (fault !== 'deleteKey') await stage.unwrapsTo(backend, earlier, plaintext);
  },
});

/** An instance that is opened meanwhile: it cannot be used, and says the same. */
const opening = ({ fault, code }: Expected): Rule => ({
  name: `faults: opened during ${fault}, it fails with ${code}`,
  needs: [fault],
  async run(stage) {
    await stage.befall(fault);
    await stage.failureOf(`open or the first wrap during ${fault}`, () => openAndWrap(stage), [code]);
  },
});

async function openAndWrap(stage: Stage): Promise<void> {
  const opened = await stage.openNow();
  stage.assertNoSecretInFacts(opened);
  await stage.wrap(opened.backend, stage.plaintext());
}

/** What goes wrong outside, by the code that says so. */
export const faultRules: readonly Rule[] = [
  ...EXPECTED.flatMap((expected) => [running(expected), opening(expected)]),
  {
    name: 'faults: what a stranger answers in place of the service is unavailable or internal, never a refusal or a loss',
    needs: ['stranger'],
    async run(stage) {
      const { backend } = await stage.open();
      const plaintext = stage.plaintext();
      const earlier = await stage.wrap(backend, plaintext);
      const calls = Object.entries(await stage.remoteCalls(backend));
      for (const times of ['once', 'twice']) {
        await stage.befall('stranger');
        for (const [name, call] of calls)
          await stage.failureOf(`${name} during stranger, called ${times}`, call, NO_WORD_OF_THE_KMS);
      }
      await stage.recovers(backend, 'stranger');
      await stage.unwrapsTo(backend, earlier, plaintext);
    },
  },
  {
    name: 'faults: a missing key is never created',
    needs: ['deleteKey'],
    async run(stage) {
      const { backend } = await stage.open();
      await stage.roundTrip(backend);
      await stage.befall('deleteKey');
      const isMissing = async (what: string) => {
        await stage.failureOf(what, (signal) => backend.wrap(stage.plaintext(), signal), ['key-not-found']);
      };
      await isMissing('wrap with a missing key');
      await isMissing('wrap with a missing key, after a wrap that must not have created it');
      await stage.failureOf('open and wrap with a missing key', () => openAndWrap(stage), ['key-not-found']);
      await isMissing('wrap with a missing key, after an open that must not have created it');
    },
  },
];
