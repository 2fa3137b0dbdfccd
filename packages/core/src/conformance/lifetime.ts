import assert from 'node:assert/strict';
import { openBackend } from './open-backend.js';
import { inOtherProcess } from './other-process.js';
import { ABORT_LIMIT_MS, CALL_LIMIT_MS, eventually, settled } from './patience.js';
import type { Rule } from './rule.js';

const UNDER_WAY_MS = 200;
/** Clients and servers let go of idle connections of their own accord within five to ten seconds. */
const HANDLES_LIMIT_MS = 15_000;

/** Opening, closing, and what is left afterwards. */
export const lifetimeRules: readonly Rule[] = [
  {
    name: 'lifetime: after close every call rejects',
    async run(stage) {
      const opened = await stage.open();
      const calls = await stage.remoteCalls(opened.backend);
      await stage.close(opened);
      for (const [name, call] of Object.entries(calls)) {
        const { signal } = new AbortController();
        const succeeded = await settled(
          (async () => call(signal))().then(
            () => true,
            () => false,
          ),
          CALL_LIMIT_MS,
          `${name} after close`,
        );
        assert.ok(!succeeded, `${name} after close: succeeded, so something is open that nobody closes`);
      }
    },
  },
  {
    name: 'lifetime: closing one instance leaves another open',
    async run(stage) {
      const [one, other] = [await stage.open(), await stage.open()];
      const wrapped = await stage.roundTrip(one.backend);
      await stage.close(one);
      await stage.roundTrip(other.backend);
      await stage.unwrap(other.backend, wrapped);
    },
  },
  {
    name: 'lifetime: close leaves no handle open',
    async run(stage) {
      const liveOnce = async () => {
        const opened = await stage.open();
        await Promise.all([stage.roundTrip(opened.backend), stage.roundTrip(opened.backend)]);
        await stage.close(opened);
      };
      // What is made once for the whole process is there from now on.
      await liveOnce();
      const before = handles();
      await liveOnce();
      await liveOnce();
      await eventually(() => {
        for (const [kind, count] of handles())
          assert.ok(
            count <= (before.get(kind) ?? 0),
            `something is open after close that was not before: ${kind} (process.getActiveResourcesInfo): ` +
              'a timer, socket or watcher of the backend, or of a service that runs in this process',
          );
      }, HANDLES_LIMIT_MS);
    },
  },
  {
    name: 'lifetime: close comes back while a call gets no answer, and ends that call',
    needs: ['stall'],
    async run(stage) {
      const opened = await stage.open();
      const calls = await stage.remoteCalls(opened.backend);
      await stage.befall('stall');
      const giveUp = new AbortController();
      const pending = Object.values(calls).map(async (call) => call(giveUp.signal).catch(() => undefined));
      await Promise.race([Promise.all(pending), new Promise((resolve) => setTimeout(resolve, UNDER_WAY_MS))]);
      giveUp.abort();
      await stage.close(opened);
      await settled(Promise.all(pending), ABORT_LIMIT_MS, 'the calls that were under way when it was closed');
    },
  },
  {
    name: 'lifetime: open rejects soon after Host.signal aborts while the service does not answer',
    needs: ['stall'],
    async run(stage) {
      await stage.befall('stall');
      const signal = AbortSignal.timeout(UNDER_WAY_MS);
      // A backend that asks nobody before its first call is open at once.
      const opened = await settled(
        openBackend(stage.harness, { signal }).catch(() => undefined),
        UNDER_WAY_MS + ABORT_LIMIT_MS,
        'open while the service does not answer',
      );
      if (opened !== undefined) await settled(opened.end(), CALL_LIMIT_MS, 'close');
    },
  },
  {
    name: 'lifetime: another process unwraps what this one wrapped, and the other way round',
    needs: ['moduleUrl'],
    async run(stage) {
      const { backend } = await stage.open();
      const plaintext = stage.plaintext();
      const wrapped = await stage.wrap(backend, plaintext);
      const { unwrapped, rewrapped } = await inOtherProcess(stage.harness, { wrapped });
      assert.ok(Buffer.compare(unwrapped, plaintext) === 0, 'another process unwrapped other bytes than were wrapped');
      await stage.unwrapsTo(backend, rewrapped, plaintext);
    },
  },
  {
    name: 'lifetime: a process ends by itself once its backend is closed',
    needs: ['moduleUrl'],
    async run(stage) {
      const { backend } = await stage.open();
      const wrapped = await stage.roundTrip(backend);
      const { endedByItself, failure } = await inOtherProcess(stage.harness, { wrapped });
      assert.ok(endedByItself, 'after close something keeps the process alive');
      assert.ok(
        failure === undefined,
        `the process ended with an error, such as an unhandled rejection: ${failure ?? ''}`,
      );
    },
  },
];

/** What keeps the event loop alive, counted by kind. Loopback services in this process count too, on both sides of the count. */
function handles(): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const kind of process.getActiveResourcesInfo()) {
    // Requests under way, not handles; and immediates of whoever runs the tests.
    if (kind.endsWith('Req') || kind.endsWith('ReqWrap') || kind === 'Immediate') continue;
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return counts;
}
