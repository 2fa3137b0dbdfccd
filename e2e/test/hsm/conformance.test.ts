import { afterAll } from 'vitest';
import { playKit } from '../../src/pkcs11/play-kit.js';
import { startSoftHsm } from '../../src/pkcs11/softhsm-harness.js';
import { testDirectory } from '../../src/test-directory.js';

const mechanisms = ['aes-gcm', 'aes-cbc-hmac', 'aes-key-wrap-pad', 'rsa-oaep'] as const;

for (const mechanism of mechanisms) {
  const { harness, stop } = await startSoftHsm(await testDirectory(`kit-${mechanism}`), mechanism);
  afterAll(stop);
  playKit(`SoftHSM with ${mechanism}`, harness, mechanism === 'aes-gcm' ? 'all' : 'mechanism');
}
