import { ANNOTATION_NAME, encodeAnnotation, FORMAT, MAX_SEED_LENGTH, type LocalKeyRecord } from './envelope.js';
import { computeKeyId } from './key-id.js';
import { KeyLoop, type RemoteLimits } from './key-loop.js';
import type { Key } from './key.js';
import { LocalKey } from './local-key.js';
import type { Observer } from './observer.js';

/**
 * Does once what the plugin would do with `key` all the time: opens it, wraps a throw-away local key, unwraps it, compares, closes.
 *
 * @throws {BackendError} saying which step failed and why
 */
export async function checkKey(key: Key, limits: RemoteLimits, observer: Observer): Promise<LocalKeyRecord> {
  const nothing = () => Promise.resolve();
  const loop = new KeyLoop({ key, limits, observer, duties: { probe: nothing, tend: nothing } });
  const localKey = LocalKey.generate();
  try {
    return await loop.wrap(localKey);
  } finally {
    localKey.destroy();
    await loop.close();
  }
}

/**
 * How many bytes Encrypt's answer adds to every object in etcd: ciphertext of a 32-byte seed, key id, annotation and its name. The API server's own
 * framing, about 80 bytes, comes on top and is there with every KMS plugin.
 */
export function bytesPerObject(
  records: readonly LocalKeyRecord[],
  { cluster, generation, writer }: { cluster: string; generation: number; writer: string },
): number {
  const localKey = LocalKey.generate();
  const annotation = encodeAnnotation({ commitment: localKey.commitment, cluster, records });
  const keyId = computeKeyId({ format: FORMAT, cluster, generation, writer, records });
  localKey.destroy();
  const ciphertextLength = 32 + (1024 - MAX_SEED_LENGTH);
  return ciphertextLength + keyId.length + ANNOTATION_NAME.length + annotation.length;
}
