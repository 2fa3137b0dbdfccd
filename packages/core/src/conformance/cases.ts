import { AssertionError } from 'node:assert/strict';
import { bufferRules } from './buffers.js';
import { configRules } from './config.js';
import { faultRules } from './faults.js';
import type { Harness } from './harness.js';
import { kekIdRules } from './kek-id.js';
import { lifetimeRules } from './lifetime.js';
import { messageRules } from './messages.js';
import { rotationRules } from './rotation.js';
import type { Need, Rule } from './rule.js';
import { assertLongEnough } from './secret-in.js';
import { signalRules } from './signals.js';
import { causedBy, describe, Stage } from './stage.js';
import { tamperingRules } from './tampering.js';
import { wrappingRules } from './wrapping.js';

const RULES: readonly Rule[] = [
  ...configRules,
  ...wrappingRules,
  ...bufferRules,
  ...tamperingRules,
  ...kekIdRules,
  ...rotationRules,
  ...signalRules,
  ...faultRules,
  ...messageRules,
  ...lifetimeRules,
];

/** One demand of the kit, for any test runner. */
export interface Case {
  /** Unique, `<theme>: <the demand>`. */
  readonly name: string;
  /** Why the harness's service cannot play this case; the runner skips it with this reason. */
  readonly skip?: string;
  /**
   * Opens the backend, plays the case, mends the service and closes the backend. Needs at most a minute or two when the backend hangs,
   * otherwise what the service takes.
   *
   * Cases share the harness's service: run them one after another.
   *
   * @throws {AssertionError} when the backend does not meet the demand; what the backend itself threw is its `cause`
   */
  readonly run: () => Promise<void>;
}

/**
 * What every backend must do, as cases to be run one after another.
 *
 * @throws {Error} when a secret of the harness is too short to be looked for
 */
export function conformanceCases(harness: Harness): readonly Case[] {
  assertLongEnough(harness.secrets);
  return RULES.map(({ name, needs = [], run }) => {
    const skip = needs.map((need) => lack(harness, need)).find((reason) => reason !== undefined);
    return { name, ...(skip !== undefined && { skip }), run: () => play(harness, run) };
  });
}

function lack(harness: Harness, need: Need): string | undefined {
  if (need === 'moduleUrl') {
    return harness.moduleUrl === undefined ? 'the harness has no moduleUrl, which another process needs' : undefined;
  }
  const fault = harness.faults[need];
  if (fault === undefined) return `the harness has no fault "${need}"`;
  return typeof fault === 'string' ? fault : undefined;
}

async function play(harness: Harness, run: Rule['run']): Promise<void> {
  const stage = new Stage(harness);
  try {
    await run(stage);
  } catch (error) {
    // The case has failed: what goes wrong while its traces are removed would only hide why.
    await stage.end().catch(() => undefined);
    if (error instanceof AssertionError) throw error;
    throw causedBy(error, `a call failed that should succeed: ${describe(error)}`);
  }
  await stage.end();
}
