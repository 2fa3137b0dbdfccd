import { BackendError, isBackendError, toBackendError } from './backend-error.js';
import type { AnnotatedKey, LocalKeyRecord } from './envelope.js';
import { firstToSucceed } from './first-to-succeed.js';
import type { KeyLoop } from './key-loop.js';
import { KMS_CODE_OF, KmsError } from './kms-error.js';
import type { LocalKey } from './local-key.js';
import { troubleOf } from './policy.js';

/** The API server waits 3 s by default: a third of it for each of the first two keys. */
const PATIENCE_MS = 1_000;

/** A local key, and the key that unwrapped it. */
export interface Unwrapped {
  readonly localKey: LocalKey;
  readonly by: KeyLoop;
  readonly record: LocalKeyRecord;
}

/**
 * Unwraps the local key of `annotated` with whichever configured key can.
 *
 * A key that is well is asked before one that fails, the writer before the others; the next one when the one before failed or is slow.
 *
 * @param loops - the configured keys, in the order of the config
 * @param rescued - records besides those of the annotation
 * @throws {KmsError} FAILED_PRECONDITION when the config names no key that wrapped it; else why none could unwrap it
 */
export async function unwrapLocalKey(
  annotated: AnnotatedKey,
  { loops, rescued }: { readonly loops: readonly KeyLoop[]; readonly rescued: readonly LocalKeyRecord[] },
): Promise<Unwrapped> {
  const candidates = inOrder(loops).flatMap((loop) =>
    // What was rescued first: its own record is there because the other one failed.
    [...rescued, ...annotated.records]
      .filter(({ keyName }) => keyName === loop.key.name)
      .map((record) => ({ loop, record })),
  );
  if (candidates.length === 0) {
    const names = annotated.records.map(({ keyName }) => JSON.stringify(keyName)).join(', ');
    const configured = loops.map(({ key }) => JSON.stringify(key.name)).join(', ');
    throw new KmsError('FAILED_PRECONDITION', `wrapped by key ${names}, and the config names only ${configured}`);
  }
  try {
    return await firstToSucceed(
      candidates.map(
        ({ loop, record }) =>
          () =>
            unwrapRecord(loop, record, annotated.commitment),
      ),
      {
        patienceMs: PATIENCE_MS,
        discard: ({ localKey }) => {
          localKey.destroy();
        },
      },
    );
  } catch (error) {
    if (!(error instanceof AggregateError)) throw error;
    const failures = error.errors.map((reason, index) => {
      const name = candidates[index]?.loop.key.name ?? '';
      return { name, error: toBackendError(reason, `key ${JSON.stringify(name)}`) };
    });
    throw explain(failures);
  }
}

async function unwrapRecord(loop: KeyLoop, record: LocalKeyRecord, commitment: Uint8Array): Promise<Unwrapped> {
  const localKey = await loop.unwrapForDecrypt(record);
  if (localKey.commitsTo(commitment)) return { localKey, by: loop, record };
  localKey.destroy();
  throw replaced(loop);
}

/** The KMS gave a local key, and not the one that sealed: another KEK stands beneath the name. */
export function replaced({ key }: KeyLoop): BackendError {
  return new BackendError(
    'invalid-ciphertext',
    `${key.backendName}: unwrap returned another local key than the one that sealed`,
  );
}

/** Well before sick, the writer before the others. */
function inOrder(loops: readonly KeyLoop[]): readonly KeyLoop[] {
  const rank = (loop: KeyLoop) => (loop.isReady ? 0 : 2) + (loop.key.role === 'write' ? 0 : 1);
  return loops.toSorted((a, b) => rank(a) - rank(b));
}

/** One error for all: its code is that of an outage if there was one, because then it is worth asking again. */
function explain(failures: readonly { readonly name: string; readonly error: BackendError }[]): KmsError {
  const decisive = failures.find(({ error }) => troubleOf(error.code) === 'outage') ?? failures[0];
  const message = failures.map(({ name, error }) => `key ${JSON.stringify(name)}: ${error.message}`).join('; ');
  return new KmsError(decisive === undefined ? 'INTERNAL' : KMS_CODE_OF[decisive.error.code], message, {
    cause: decisive?.error,
  });
}

/** The backend's failure behind a `KmsError`, if that is what it is. */
export function backendFailure(error: unknown): BackendError | undefined {
  return error instanceof KmsError && isBackendError(error.cause) ? error.cause : undefined;
}
