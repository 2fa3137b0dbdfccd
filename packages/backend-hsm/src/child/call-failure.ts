import { meaningOf, moduleWords, returnValueOf } from '../errors.js';
import type { Failure } from '../protocol.js';

/** Why a call of the server failed, in the form in which it is told. */
export class CallFailure extends Error {
  readonly failure: Failure;

  constructor(
    code: Failure['code'],
    reason: string,
    options: { readonly path?: string; readonly restart?: boolean; readonly cause?: unknown } = {},
  ) {
    super(reason, { cause: options.cause });
    this.failure = {
      code,
      reason,
      restart: options.restart ?? false,
      ...(options.path === undefined ? {} : { path: options.path }),
      ...(options.cause === undefined ? {} : { cause: moduleWords(options.cause) }),
    };
  }
}

/** Any thrown value as a `CallFailure`: what the module returned, by its meaning alone. */
export function toCallFailure(error: unknown): CallFailure {
  if (error instanceof CallFailure) return error;
  const value = returnValueOf(error);
  if (value === undefined) return new CallFailure('internal', 'unexpected failure', { cause: error });
  const { code, reason } = meaningOf(value);
  return new CallFailure(code, reason, { cause: error });
}

/** Whether the token said something about our login that no repair changes. */
export function isLoginVerdict(error: unknown): boolean {
  return error instanceof CallFailure && error.failure.code === 'unauthenticated';
}
