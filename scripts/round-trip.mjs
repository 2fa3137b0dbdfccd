import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

/** The API server's default for `kms.timeout`. */
const callTimeoutMs = 3_000;
const readyTimeoutMs = 30_000;

/**
 * Sends to the plugin at `socketPath` what kube-apiserver sends, and says what comes back.
 *
 * @param {string} socketPath
 * @param {(line: string) => void} say
 * @throws {Error} when an answer is not what a cluster needs
 */
export async function roundTrip(socketPath, say) {
  // Only now: these packages are there once the workspace is installed and built.
  const { credentials, status } = await import('@grpc/grpc-js');
  const { KeyManagementServiceClient } = await import('@sealwax/server/kms-v2');
  const client = new KeyManagementServiceClient(`unix:${socketPath}`, credentials.createInsecure(), {
    'grpc.default_authority': 'localhost',
  });
  const call = (method, request) =>
    new Promise((resolve, reject) => {
      const answered = (error, response) => (error === null ? resolve(response) : reject(error));
      client[method](request, { deadline: Date.now() + callTimeoutMs }, answered);
    });
  try {
    const { version, healthz, keyId } = await untilOk(() => call('status', {}));
    say(`Status   version ${version}, health ${healthz}, key id ${keyId}`);
    say('         The API server asks about three times a minute. Answered from memory: no KMS is called.');

    const seed = randomBytes(32);
    const sealed = await call('encrypt', { plaintext: seed, uid: 'start-1' });
    expect(sealed.keyId === keyId, 'Encrypt answered another key id than Status');
    expect(!Buffer.from(sealed.ciphertext).includes(seed), 'the seed is in the ciphertext');
    const annotationBytes = [...sealed.annotations].reduce((sum, [name, value]) => sum + name.length + value.length, 0);
    say(`Encrypt  a seed of ${seed.length} bytes became ${sealed.ciphertext.length} bytes, under the same key id,`);
    say(`         with ${annotationBytes} bytes of annotation: the local key, wrapped by your key.`);
    say('         The API server derives the keys of its Secrets from that seed; it asks once per start and rotation.');

    const { plaintext } = await call('decrypt', { ...sealed, uid: 'start-2' });
    expect(seed.equals(plaintext), 'Decrypt answered other bytes');
    say('Decrypt  gave the same 32 bytes back.');

    const ciphertext = Uint8Array.from(sealed.ciphertext);
    ciphertext[ciphertext.length >> 1] ^= 1;
    const refusal = await call('decrypt', { ...sealed, ciphertext, uid: 'start-3' }).catch((error) => error);
    expect(refusal.code === status.INVALID_ARGUMENT, 'a changed ciphertext was not refused');
    say(`Decrypt  with one bit changed was refused: ${status[refusal.code]}.`);
  } finally {
    client.close();
  }

  /** Waits until Status says ok, as the API server does. */
  async function untilOk(ask) {
    const deadline = Date.now() + readyTimeoutMs;
    for (;;) {
      const answer = await ask().catch((error) => ({ healthz: error.message }));
      if (answer.healthz === 'ok') return answer;
      if (Date.now() > deadline)
        throw new Error(`Status is not ok after ${readyTimeoutMs / 1000} s: ${answer.healthz}`);
      await sleep(100);
    }
  }
}

function expect(truth, otherwise) {
  if (!truth) throw new Error(otherwise);
}
