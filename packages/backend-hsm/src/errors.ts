import type { BackendErrorCode } from '@sealwax/core';

/**
 * What a return value of PKCS #11 means when it says something: the code and the words of the message.
 *
 * Most do not. Modules answer CKR_GENERAL_ERROR, CKR_DEVICE_ERROR or CKR_FUNCTION_FAILED to a tampered ciphertext, to a lost session and
 * to a dead device alike, so what is not in this table, and what is in it as `unavailable`, is judged by whether a ciphertext
 * that is known to be good opens right after.
 */
const MEANINGS: ReadonlyMap<number, readonly [BackendErrorCode, string]> = new Map([
  [0x02, ['unavailable', 'the module is out of memory']],
  [0x03, ['unavailable', 'the slot is gone']],
  [0x05, ['unavailable', 'general error']],
  [0x06, ['unavailable', 'the function failed']],
  [0x07, ['internal', 'the module does not take the arguments']],
  [0x30, ['unavailable', 'device error']],
  [0x31, ['unavailable', 'the device is out of memory']],
  [0x32, ['unavailable', 'the device was removed']],
  [0x40, ['invalid-ciphertext', 'the token calls the ciphertext invalid']],
  [0x41, ['invalid-ciphertext', 'the token calls the length of the ciphertext invalid']],
  [0x50, ['unavailable', 'the function was cancelled']],
  [0x54, ['internal', 'the module has no such function']],
  [0x60, ['key-not-found', 'the key is gone']],
  [0x62, ['internal', 'the key has a size that the mechanism does not take']],
  [0x63, ['internal', 'the key has a type that the mechanism does not take']],
  [0x68, ['permission-denied', 'the key’s attributes do not allow it']],
  [0x69, ['internal', 'the key cannot be wrapped']],
  [0x6a, ['internal', 'the key may not be extracted']],
  [0x70, ['internal', 'the token does not know the mechanism']],
  [0x71, ['internal', 'the token does not take the mechanism’s parameters']],
  [0x82, ['key-not-found', 'the key is gone']],
  [0xa0, ['unauthenticated', 'wrong PIN']],
  [0xa1, ['unauthenticated', 'the PIN has characters that the token does not take']],
  [0xa2, ['unauthenticated', 'the PIN has a length that the token does not take']],
  [0xa3, ['unauthenticated', 'the PIN has expired; set a new one']],
  [0xa4, ['unauthenticated', 'the PIN is locked; the security officer can unlock it']],
  [0xb0, ['unavailable', 'the session was closed']],
  [0xb1, ['throttled', 'the token has no session left']],
  [0xb3, ['unavailable', 'the session is gone']],
  [0xe0, ['unavailable', 'no token in the slot']],
  [0xe1, ['unavailable', 'the token is not recognized']],
  [0x101, ['unauthenticated', 'not logged in']],
  [0x102, ['unauthenticated', 'the token has no user PIN yet']],
  [0x104, ['unauthenticated', 'another user is logged in']],
  [0x110, ['invalid-ciphertext', 'the token calls the wrapped key invalid']],
  [0x112, ['invalid-ciphertext', 'the token calls the length of the wrapped key invalid']],
  [0x190, ['unavailable', 'the module is not initialized']],
  [0x200, ['permission-denied', 'the token’s policy rejects it']],
]);

/** The return value of the module's function that threw `error`; `undefined` when it was no function of the module. */
export function returnValueOf(error: unknown): number | undefined {
  if (!(error instanceof Error)) return undefined;
  if ('code' in error && typeof error.code === 'number' && error.code !== 0) return error.code;
  // pkcs11js forgets to translate the errors of C_FindObjects.
  const [, value] = /^CKR_\w+:(\d+)/.exec(error.message) ?? [];
  return value === undefined ? undefined : Number(value);
}

/** What `returnValue` means, by itself. */
export function meaningOf(returnValue: number): { readonly code: BackendErrorCode; readonly reason: string } {
  const [code, reason] = MEANINGS.get(returnValue) ?? ['unavailable', `return value ${hexadecimal(returnValue)}`];
  return { code, reason };
}

/** The module's own words: function and return value, for the log. */
export function moduleWords(error: unknown): string {
  if (!(error instanceof Error)) return typeof error;
  const method =
    'method' in error && typeof error.method === 'string' && error.method !== '' ? `${error.method}: ` : '';
  const value = returnValueOf(error);
  return `${method}${error.message}${value === undefined ? '' : ` (${hexadecimal(value)})`}`;
}

function hexadecimal(value: number): string {
  return `0x${value.toString(16)}`;
}
