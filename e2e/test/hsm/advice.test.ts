import { expect, test } from 'vitest';
import { keySection } from '../../src/key-under-test.js';
import { startSoftHsm, type SoftHsmMechanism } from '../../src/pkcs11/softhsm-harness.js';
import { Sealwax } from '../../src/sealwax.js';
import { testDirectory } from '../../src/test-directory.js';

const weakness = 'whoever can read the public key can make data that this plugin takes for its own';

async function check(mechanism: SoftHsmMechanism): Promise<{ readonly code: number; readonly output: string }> {
  const directory = await testDirectory(`advice-${mechanism}`);
  const key = await startSoftHsm(directory, mechanism);
  const plugin = await Sealwax.configure(`${directory}/plugin`, {
    sections: { keys: [keySection(key, { name: 'prod' })] },
  });
  const checked = await plugin.check([]);
  plugin.client.close();
  await key.stop();
  return checked;
}

test('`sealwax check` says what RSA wrapping does not protect, and advises a longer key', async () => {
  const { code, output } = await check('rsa-oaep');
  expect(output).toContain(weakness);
  expect(output).toContain('the RSA key has 2048 bits; make one of 3072');
  expect(code, output).toBe(0);
});

test('`sealwax check` says nothing of the kind where AES wraps', async () => {
  const { code, output } = await check('aes-gcm');
  expect(output).not.toContain('advice:');
  expect(code, output).toBe(0);
});
