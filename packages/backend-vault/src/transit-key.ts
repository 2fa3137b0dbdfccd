import { BackendError } from '@sealwax/core';
import { z } from 'zod';

const description = z.object({
  data: z.object({
    latest_version: z.int().min(1),
    soft_deleted: z.boolean().default(false),
    derived: z.boolean().default(false),
    supports_encryption: z.boolean().default(true),
    // Symmetric keys: seconds since 1970. Others: an object with an RFC 3339 time.
    keys: z.record(
      z.string(),
      z.union([
        z.number(),
        z.object({ creation_time: z.string() }).transform((key) => Date.parse(key.creation_time) / 1_000),
      ]),
    ),
  }),
});

/** What `read` on a transit key tells. */
export interface TransitKey {
  readonly latestVersion: number;
  /** When a version was made, in whole seconds since 1970; `undefined` when the key has no such version. */
  createdAt(version: number): number | undefined;
}

/**
 * The key that `answer` describes.
 *
 * @param doing - for instance `read the current version of transit/kms`
 * @throws {BackendError} when it is a key that Sealwax cannot use
 */
export function transitKey(answer: unknown, doing: string): TransitKey {
  const fault = (code: 'internal' | 'key-disabled', reason: string) =>
    new BackendError(code, `vault: ${doing}: ${reason}`);
  const parsed = description.safeParse(answer);
  if (!parsed.success) throw fault('internal', 'the answer does not describe a transit key');
  const { data } = parsed.data;
  if (data.soft_deleted) throw fault('key-disabled', 'the key is soft-deleted');
  if (data.derived) {
    throw fault('internal', 'the key is derived, which Sealwax cannot use; make one without derived=true');
  }
  if (!data.supports_encryption) {
    throw fault('internal', 'the type of the key cannot encrypt; make one of type aes256-gcm96');
  }
  return {
    latestVersion: data.latest_version,
    createdAt(version) {
      const seconds = data.keys[String(version)];
      return seconds === undefined || !Number.isFinite(seconds) ? undefined : Math.floor(seconds);
    },
  };
}
