import type { BackendErrorCode } from '@sealwax/core';
import { z } from 'zod';
import type { HashName, MechanismName } from './config.js';

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

/** What an answer may hold besides bytes. */
const value = z.union([z.string(), z.null(), z.record(z.string(), z.json())]);

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
