import assert from 'node:assert/strict';
import type { BackendError, BackendErrorCode } from '../backend-error.js';
import type { Backend } from '../backend.js';
import type { Faults } from './harness.js';
import type { Rule } from './rule.js';
import type { Stage } from './stage.js';

const ANY: readonly BackendErrorCode[] = [
  'unavailable',
  'throttled',
  'unauthenticated',
  'permission-denied',
  'key-not-found',
  'key-disabled',
  'invalid-ciphertext',
  'internal',
];
const TELLING: readonly (keyof Faults)[] = ['outage', 'throttle', 'expireCredential', 'deny', 'disable', 'deleteKey'];
const LONGEST_MESSAGE = 1_000;

/** What reaches logs. */
export const messageRules: readonly Rule[] = [
  {
    name: 'messages: an error is a BackendError by its shape, in one line',
    async run(stage) {
      const { backend } = await stage.open();
      for (const { message } of await refusals(stage, backend)) {
        assert.ok(message !== '' && message.length <= LONGEST_MESSAGE, `a message of ${message.length} characters`);
        assert.ok(!/\p{Cc}/u.test(message), `a message with control characters: ${JSON.stringify(message)}`);
      }
    },
  },
  {
    name: 'messages: no error and no report shows a secret or a plaintext',
    async run(stage) {
      const opened = await stage.open();
      await refusals(stage, opened.backend);
      for (const fault of TELLING.filter((name) => typeof stage.harness.faults[name] === 'function')) {
        const { wrap, unwrap } = await stage.remoteCalls(opened.backend);
        await stage.befall(fault);
        await stage.failureOf(`wrap during ${fault}`, wrap, ANY);
        await stage.failureOf(`unwrap during ${fault}`, unwrap, ANY);
        await stage.recovers(opened.backend, fault);
      }
      stage.assertNoSecretInFacts(opened);
    },
  },
];

/** Errors that every service gives: for bytes and for a KEK id that are not its own. */
async function refusals(stage: Stage, backend: Backend): Promise<BackendError[]> {
  const { kekId, ciphertext } = await stage.roundTrip(backend);
  const garbage = new Uint8Array(ciphertext.length).fill(1);
  return [
    await stage.failureOf('unwrap of garbage', (s) => backend.unwrap({ kekId, ciphertext: garbage }, s), ANY),
    await stage.failureOf('unwrap with no KEK id', (s) => backend.unwrap({ kekId: '', ciphertext }, s), ANY),
  ];
}
