import { afterAll } from 'vitest';
import { playKit } from '../../src/pkcs11/play-kit.js';
import { startTpm } from '../../src/pkcs11/tpm-harness.js';
import { testDirectory } from '../../src/test-directory.js';

for (const mechanism of ['aes-cbc-hmac', 'rsa-oaep'] as const) {
  const { harness, stop } = await startTpm(await testDirectory(`tpm-${mechanism}`), mechanism);
  afterAll(stop);
  playKit(`a TPM with ${mechanism}`, harness, mechanism === 'aes-cbc-hmac' ? 'all' : 'mechanism');
}
