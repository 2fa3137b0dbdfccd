import { isBackendError, type BackendError } from '../backend-error.js';

/**
 * The error of a call that must fail, for tests beyond the kit's cases.
 *
 * @throws {Error} when the call succeeds, or fails with anything but a `BackendError`, which is then the `cause`
 */
export async function failureOf(call: Promise<unknown>): Promise<BackendError> {
  const error: unknown = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (isBackendError(error)) return error;
  throw new Error('no BackendError', { cause: error });
}
