import { z } from 'zod';

/** A token as a login gave it. */
export interface Token {
  readonly value: string;
  /** `undefined` when it does not expire. */
  readonly ttlMs: number | undefined;
  readonly renewable: boolean;
  /** How many requests it is good for, `undefined` for any number. */
  readonly uses: number | undefined;
}

const authAnswer = z.object({
  auth: z.object({
    client_token: z.string().min(1),
    lease_duration: z.number(),
    renewable: z.boolean(),
    num_uses: z.number().default(0),
  }),
});

const lookupAnswer = z.object({
  data: z.object({ ttl: z.number(), renewable: z.boolean().default(false), num_uses: z.number().default(0) }),
});

/** The token in the answer of a login or of a renewal; `undefined` when there is none, as where Vault wants a second factor. */
export function tokenOfLogin(answer: unknown): Token | undefined {
  const parsed = authAnswer.safeParse(answer);
  if (!parsed.success) return undefined;
  const { client_token: value, lease_duration: ttl, renewable, num_uses: uses } = parsed.data.auth;
  return { value, ttlMs: limited(ttl * 1_000), renewable, uses: limited(uses) };
}

/** What `auth/token/lookup-self` says about `value`; `undefined` when it says nothing that can be understood. */
export function tokenOfLookup(value: string, answer: unknown): Token | undefined {
  const parsed = lookupAnswer.safeParse(answer);
  if (!parsed.success) return undefined;
  const { ttl, renewable, num_uses: uses } = parsed.data.data;
  return { value, ttlMs: limited(ttl * 1_000), renewable, uses: limited(uses) };
}

/** Vault says 0 where there is no limit. */
function limited(value: number): number | undefined {
  return value === 0 ? undefined : value;
}
