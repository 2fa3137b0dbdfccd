import assert from 'node:assert/strict';
import { isBackendError } from '../backend-error.js';
import { ABORT_LIMIT_MS, settled } from './patience.js';
import type { Rule } from './rule.js';
import { describe, type RemoteCall, type RemoteCallName, type Stage } from './stage.js';

const CALLS: readonly RemoteCallName[] = ['currentKekId', 'wrap', 'unwrap'];
/** Long enough for a request to be on its way, so that the abort meets it there. */
const UNDER_WAY_MS = 200;

/** A call whose answer nobody waits for any more. */
export const signalRules: readonly Rule[] = [
  ...CALLS.map((name): Rule => ({
    name: `signals: ${name} rejects at once when its signal has aborted before`,
    async run(stage) {
      const { backend } = await stage.open();
      const calls = await stage.remoteCalls(backend);
      await rejectsOnAbort(stage, name, calls[name], AbortSignal.abort());
      await stage.roundTrip(backend);
    },
  })),
  ...CALLS.map((name): Rule => ({
    name: `signals: ${name} rejects soon after its signal aborts while the service does not answer`,
    needs: ['stall'],
    async run(stage) {
      const { backend } = await stage.open();
      const calls = await stage.remoteCalls(backend);
      await stage.befall('stall');
      await rejectsOnAbort(stage, name, calls[name], AbortSignal.timeout(UNDER_WAY_MS));
      await stage.recovers(backend, 'stall');
    },
  })),
  {
    name: 'signals: the abort of one call does not touch another',
    async run(stage) {
      const { backend } = await stage.open();
      const giveUp = new AbortController();
      const plaintext = stage.plaintext();
      const given = stage.call('wrap whose signal aborts', () => backend.wrap(plaintext, giveUp.signal));
      const kept = stage.wrap(backend, plaintext);
      giveUp.abort();
      await given.catch(() => undefined);
      await stage.unwrapsTo(backend, await kept, plaintext);
    },
  },
];

/** `call` must reject soon after `signal` aborts: with `unavailable`, or with the abort itself, as its client throws it. */
async function rejectsOnAbort(stage: Stage, name: string, call: RemoteCall, signal: AbortSignal): Promise<void> {
  const attempt = (async () => call(signal))();
  attempt.catch(() => undefined);
  const error = await settled(
    attempt.then(
      () => assert.fail(`${name}: succeeded, though its signal has aborted`),
      (reason: unknown) => {
        if (reason instanceof assert.AssertionError) throw reason;
        return reason;
      },
    ),
    (signal.aborted ? 0 : UNDER_WAY_MS) + ABORT_LIMIT_MS,
    `${name} with a signal that aborts`,
  );
  assert.ok(
    signal.aborted,
    `${name}: failed before its signal aborted, and the service did not answer: ${describe(error)}`,
  );
  stage.assertNoSecret(error, name);
  const isAbort =
    error === signal.reason ||
    (error instanceof Error && (error.name === 'AbortError' || error.name === 'TimeoutError')) ||
    (isBackendError(error) && error.code === 'unavailable');
  assert.ok(
    isAbort,
    `${name}: must fail with unavailable or an AbortError after its signal aborted, threw ${describe(error)}`,
  );
}
