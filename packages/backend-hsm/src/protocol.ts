import type { BackendErrorCode } from '@sealwax/core';
import { z } from 'zod';
import { MECHANISMS, type HashName, type MechanismName } from './config.js';

/** How the module is loaded. */
export interface ModuleSettings {
  readonly path: string;
  readonly parameters: string | undefined;
}

/** Everything a child needs to serve one key; no secret in it. */
export interface TokenSettings {
  readonly module: ModuleSettings;
  readonly token: { readonly label: string | undefined; readonly serial: string | undefined };
  readonly key: { readonly label: string | undefined; readonly id: string | undefined };
  readonly macKeyLabel: string | undefined;
  readonly mechanism: MechanismName | undefined;
  readonly hash: HashName;
  readonly current: string;
  readonly fingerprint: 'auto' | 'none';
  readonly rereadModule: boolean;
  readonly sessions: number;
  /** Whether there is a PIN to ask for. */
  readonly login: boolean;
}

/** What the server asks of the child. Bytes (the plaintext to wrap, the ciphertext to unwrap) follow the header. */
export type Call =
  | { readonly call: 'open'; readonly settings: TokenSettings }
  | { readonly call: 'currentKekId' }
  | { readonly call: 'wrap' }
  | { readonly call: 'unwrap'; readonly kekId: string }
  | { readonly call: 'list'; readonly module: ModuleSettings; readonly login: string | undefined }
  | { readonly call: 'close' };

/** The answer to the child's asking for the PIN, whose bytes follow; `withheld` says why it gets none. */
export interface PinAnswer {
  readonly pin: 'given' | 'withheld';
  readonly reason?: string;
}

export type ToChild = (Call & { readonly id: number }) | PinAnswer;

const listedKey = z.strictObject({
  type: z.enum(['aes', 'rsa']),
  label: z.string(),
  /** CKA_ID in hexadecimal. */
  id: z.string(),
  extractable: z.boolean(),
  /** The mechanisms that it would serve, the best first. */
  serves: z.array(z.enum(MECHANISMS)),
});

const listedToken = z.strictObject({
  label: z.string(),
  serial: z.string(),
  model: z.string(),
  mechanisms: z.array(z.enum(MECHANISMS)),
  /** Whether the keys were looked for after a login; without one, most tokens show none. */
  loggedIn: z.boolean(),
  keys: z.array(listedKey),
});

/** What `sealwax hsm list` shows of a key and of a token. */
export type ListedKey = z.infer<typeof listedKey>;
export type ListedToken = z.infer<typeof listedToken>;

/** What an answer holds besides bytes: a KEK id, a list of tokens, or nothing. */
const value = z.union([z.string(), z.null(), z.strictObject({ tokens: z.array(listedToken) })]);

const codes = [
  'unavailable',
  'throttled',
  'unauthenticated',
  'permission-denied',
  'key-not-found',
  'key-disabled',
  'invalid-ciphertext',
  'internal',
  'config',
] as const satisfies readonly (BackendErrorCode | 'config')[];

/** Why a call failed, as the child saw it. */
export const failureSchema = z.strictObject({
  /** `config`: only a change of the config, of the token or of the installation can help. */
  code: z.enum(codes),
  /** Where in the config, for `config`. */
  path: z.string().optional(),
  reason: z.string(),
  /** The module's own words: function and return value. */
  cause: z.string().optional(),
  /** Nothing that this process could do helped: a new one should be tried. */
  restart: z.boolean(),
});
export type Failure = z.infer<typeof failureSchema>;

/** What the child says. A module that went astray may have written it: everything is checked. */
export const fromChildSchema = z.union([
  z.strictObject({ id: z.int(), value, rssBytes: z.number() }),
  z.strictObject({ id: z.int(), failure: failureSchema, rssBytes: z.number() }),
  z.strictObject({
    ask: z.literal('pin'),
    /** As the token's flags tell, where they do. */
    triesLeft: z.int().nullable(),
  }),
  z.strictObject({
    /** What came of the PIN that was given last. */
    told: z.literal('login'),
    outcome: z.enum(['good', 'wrong', 'expired', 'locked', 'failed']),
    triesLeft: z.int().nullable(),
  }),
  z.strictObject({ told: z.literal('advice'), text: z.string() }),
]);
export type FromChild = z.infer<typeof fromChildSchema>;
