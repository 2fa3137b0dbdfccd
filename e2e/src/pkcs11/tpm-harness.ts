import { backend } from '@sealwax/backend-hsm';
import type { Harness } from '@sealwax/core/conformance';
import type { HsmService } from './softhsm-harness.js';
import { SwTpm, type TpmKeyOptions } from './swtpm.js';

export type TpmMechanism = 'rsa-oaep' | 'aes-cbc-hmac';

const label = 'kms';
const macLabel = 'kms-mac';
const callTimeoutSeconds = 3;

/** A TPM with one version of a KEK. */
export async function startTpm(
  directory: string,
  mechanism: TpmMechanism = 'aes-cbc-hmac',
): Promise<HsmService & { readonly tpm: SwTpm }> {
  const tpm = await SwTpm.create(directory);
  let ids: string[] = [];
  let next = 10;
  const make = async (id: string) => {
    const keys: readonly TpmKeyOptions[] =
      mechanism === 'rsa-oaep'
        ? [{ label, id, algorithm: 'rsa2048' }]
        : [
            { label: macLabel, id, algorithm: 'hmac:sha256' },
            { label, id, algorithm: 'aes256' },
          ];
    for (const key of keys) await tpm.makeKey(key);
  };
  const add = async () => {
    const id = String(next);
    next += 1;
    await make(id);
    ids.push(id);
  };
  const remove = async (id: string) => {
    const hexadecimal = Buffer.from(id).toString('hex');
    await tpm.deleteKeys((description) => description.includes(hexadecimal));
  };
  // The module goes on with the keys that it has read, until it is initialized or the TPM loses them.
  const powerCycle = async () => {
    await tpm.kill();
    await tpm.start();
  };
  await add();
  const config = {
    module: tpm.module,
    environment: tpm.environment,
    token: { label: tpm.tokenLabel },
    key: { label },
    pinFile: tpm.pinFile,
    mechanism,
    ...(mechanism === 'aes-cbc-hmac' ? { macKey: { label: macLabel } } : { hash: 'sha256' }),
    rereadModule: true,
    callTimeoutSeconds,
  };
  const harness: Harness = {
    module: backend,
    moduleUrl: import.meta.resolve('@sealwax/backend-hsm'),
    config,
    secrets: tpm.pins,
    faults: {
      stranger: 'a TPM is not asked over a network',
      rotate: add,
      stall: async () => {
        tpm.freeze();
      },
      outage: () => tpm.kill(),
      throttle: 'a TPM answers one request after the other and is never too busy',
      expireCredential: async () => {
        await tpm.changePin(`pin-${tpm.pins.length + 1}-of-the-tpm`);
        // A login outlives a change of the PIN, but not the TPM's power.
        await powerCycle();
      },
      deny: 'a key of tpm2-pkcs11 has the rights that it was made with',
      disable: 'PKCS #11 has no switch for a key',
      deleteKey: async () => {
        for (const id of ids) await remove(id);
        ids = [];
        await powerCycle();
      },
      destroyOldVersion: async () => {
        for (const id of ids.slice(0, -1)) await remove(id);
        ids = ids.slice(-1);
        await powerCycle();
      },
      replaceKek: async () => {
        for (const id of ids) {
          await remove(id);
          await make(id);
        }
        await powerCycle();
      },
    },
    mend: async () => {
      tpm.thaw();
      if (!tpm.isRunning) await tpm.start();
      await tpm.endLockout();
      await tpm.writePin();
      if (ids.length === 0) await add();
    },
  };
  return { backend: 'hsm', config, harness, tpm, stop: () => tpm.stop() };
}
