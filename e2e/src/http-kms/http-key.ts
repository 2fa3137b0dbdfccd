import type { KeyUnderTest } from '../key-under-test.js';
import { startHttpKms, type HttpKmsHarness } from './http-kms-harness.js';

/** A key of the example's service, by the path of its backend's module. */
export async function startHttpKey(directory: string): Promise<KeyUnderTest & { readonly harness: HttpKmsHarness }> {
  const harness = await startHttpKms(directory);
  return {
    backend: harness.backend.modulePath,
    harness,
    async stop() {
      await harness.stop();
    },
  };
}
