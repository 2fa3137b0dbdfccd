import type { Faults, Harness } from '@sealwax/core/conformance';

/** A key of some service, and the ways to break that: what the fault suites run on. */
export interface KeyUnderTest {
  /** For `backend` of the config file. */
  readonly backend: string;
  /** Its config section, and the faults. */
  readonly harness: Harness;
  stop(): Promise<void>;
}

/** @param directory - of its own, for state, certificates and logs */
export type StartKey = (directory: string) => Promise<KeyUnderTest>;

/** The key's entry in the list `keys` of the config file. */
export function keySection(
  key: Pick<KeyUnderTest, 'backend' | 'harness'>,
  { name, role = 'write' }: { readonly name: string; readonly role?: 'write' | 'recover' | 'read' },
): Readonly<Record<string, unknown>> {
  return { name, role, backend: key.backend, config: key.harness.config };
}

/** Breaks the key's service in this way; throws where it cannot be done. */
export async function inflict({ harness }: Pick<KeyUnderTest, 'harness'>, fault: keyof Faults): Promise<void> {
  const cause = harness.faults[fault];
  if (typeof cause === 'string') throw new Error(`${fault} is not to be had: ${cause}`);
  await cause();
}
