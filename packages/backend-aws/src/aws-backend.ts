import { DecryptCommand, DescribeKeyCommand, EncryptCommand, type KMSClient } from '@aws-sdk/client-kms';
import { BackendError, isBackendError, type Backend, type WrappedKey } from '@sealwax/core';
import { toKmsError } from './errors.js';
import { formatKekId, parseKekId } from './kek-id.js';
import { areNeighbours, parseKeyArn, type KeyArn } from './key-arn.js';
import type { Login } from './login.js';
import { orAborted } from './or-aborted.js';

const ALGORITHM = 'SYMMETRIC_DEFAULT';
/** How often a wrap begins again because the key rotated under it. */
const WRAP_ATTEMPTS = 3;
/** Wrapped and thrown away, where the KEK id is to be had from no other call. */
const PROBE = new Uint8Array(16);

// KeyState of the model. An owner brought about the first ones; `Updating` does not stand in the way of a call.
const SWITCHED_OFF: ReadonlySet<string> = new Set([
  'Disabled',
  'PendingDeletion',
  'PendingReplicaDeletion',
  'PendingImport',
]);
const NOT_READY: ReadonlySet<string> = new Set(['Creating', 'Unavailable']);

interface AwsBackendOptions {
  readonly client: KMSClient;
  readonly login: Login;
  /** What the config names: a key or an alias. */
  readonly key: KeyArn;
  readonly kekIdForm: 'arn-and-material' | 'arn';
  readonly encryptionContext: Readonly<Record<string, string>>;
}

/**
 * Wraps with the key that the config names, and unwraps with the key that a KEK id names.
 *
 * `Encrypt` tells the key and not its material. So the material that a wrap will use is read before, and bound as a part of the encryption context;
 * what comes back is decrypted at once, and that answer must name the same material. A wrapped key opens under its own KEK id only.
 */
export class AwsBackend implements Backend {
  readonly #client: KMSClient;
  readonly #login: Login;
  readonly #key: KeyArn;
  readonly #kekIdForm: AwsBackendOptions['kekIdForm'];
  readonly #encryptionContext: AwsBackendOptions['encryptionContext'];
  readonly #closing = new AbortController();

  constructor({ client, login, key, kekIdForm, encryptionContext }: AwsBackendOptions) {
    this.#client = client;
    this.#login = login;
    this.#key = key;
    this.#kekIdForm = kekIdForm;
    this.#encryptionContext = encryptionContext;
  }

  async currentKekId(signal: AbortSignal): Promise<string> {
    const doing = `aws: read the current version of ${this.#key.arn}`;
    if (this.#kekIdForm === 'arn') {
      const { keyArn } = await this.#encrypt(PROBE, { key: this.#key.arn, materialId: undefined, doing }, signal);
      return formatKekId(keyArn, undefined);
    }
    const { keyArn, materialId } = await this.#describe(this.#key.arn, doing, signal);
    return formatKekId(keyArn, materialId);
  }

  /** Whether the key has a material id and we may read it. For advice; never fails. */
  async canNameMaterial(signal: AbortSignal): Promise<boolean> {
    return this.#describe(this.#key.arn, 'aws: look for the key material', signal).then(
      () => true,
      () => false,
    );
  }

  async wrap(plaintext: Uint8Array, signal: AbortSignal): Promise<WrappedKey> {
    const doing = `aws: wrap with ${this.#key.arn}`;
    if (this.#kekIdForm === 'arn') {
      const { keyArn, ciphertext } = await this.#encrypt(
        plaintext,
        { key: this.#key.arn, materialId: undefined, doing },
        signal,
      );
      return { kekId: formatKekId(keyArn, undefined), ciphertext };
    }
    // From here on by the key's own ARN: an alias may move at any time.
    const described = await this.#describe(this.#key.arn, doing, signal);
    const { keyArn } = described;
    let { materialId } = described;
    for (let attempt = 0; attempt < WRAP_ATTEMPTS; attempt += 1) {
      const { ciphertext } = await this.#encrypt(plaintext, { key: keyArn, materialId, doing }, signal);
      const used = await this.#materialOf(ciphertext, { keyArn, materialId, doing }, signal);
      if (used === materialId) return { kekId: formatKekId(keyArn, materialId), ciphertext };
      materialId = used;
    }
    throw new BackendError(
      'unavailable',
      `${doing}: the key material changed during each of ${WRAP_ATTEMPTS} attempts`,
    );
  }

  async unwrap({ kekId, ciphertext }: WrappedKey, signal: AbortSignal): Promise<Uint8Array> {
    const named = parseKekId(kekId);
    if (named === undefined)
      throw new BackendError('invalid-ciphertext', 'aws: unwrap: the KEK id is not one of the aws backend');
    const doing = `aws: unwrap with ${named.key.arn}`;
    if (!areNeighbours(named.key, this.#key)) {
      throw new BackendError(
        'invalid-ciphertext',
        `${doing}: the key is not in the partition, region and account of ${this.#key.arn}, which the config names`,
      );
    }
    const { materialId } = named;
    const opened = await this.#decrypt(ciphertext, { keyArn: named.key.arn, materialId, doing }, signal);
    if (materialId !== undefined && opened.materialId !== undefined && opened.materialId !== materialId) {
      opened.plaintext.fill(0);
      throw new BackendError('invalid-ciphertext', `${doing}: other key material made the ciphertext`);
    }
    return opened.plaintext;
  }

  close(): Promise<void> {
    this.#closing.abort();
    this.#login.close();
    this.#client.destroy();
    return Promise.resolve();
  }

  async #materialOf(ciphertext: Uint8Array, target: DecryptTarget, signal: AbortSignal): Promise<string> {
    const { plaintext, materialId } = await this.#decrypt(ciphertext, target, signal);
    plaintext.fill(0);
    // A service that does not say: what was current before and is current after was current in between.
    return materialId ?? (await this.#describe(target.keyArn, target.doing, signal)).materialId;
  }

  async #describe(keyId: string, doing: string, signal: AbortSignal) {
    const fault = (code: BackendError['code'], reason: string) => new BackendError(code, `${doing}: ${reason}`);
    const { KeyMetadata: metadata } = await this.#call(doing, signal, (abortSignal) =>
      this.#client.send(new DescribeKeyCommand({ KeyId: keyId }), { abortSignal }),
    ).catch((error: unknown) => {
      if (!isBackendError(error) || error.code !== 'permission-denied') throw error;
      const advice = 'allow kms:DescribeKey, or set kekId: arn, which does not see rotations of the key material';
      throw new BackendError(error.code, `${error.message}; ${advice}`, { cause: error.cause });
    });
    const state = metadata?.KeyState ?? 'unknown';
    if (SWITCHED_OFF.has(state)) throw fault('key-disabled', `the key's state is ${state}`);
    if (NOT_READY.has(state)) throw fault('unavailable', `the key's state is ${state}`);
    if (metadata?.KeySpec !== ALGORITHM)
      throw fault('internal', `KeySpec ${metadata?.KeySpec ?? 'unknown'}; only a symmetric encryption key can be used`);
    const keyArn = this.#ownKeyArn(metadata.Arn, doing);
    const { CurrentKeyMaterialId: materialId } = metadata;
    if (materialId === undefined)
      throw fault('internal', 'the key has no key material id (custom key store?); set kekId: arn');
    return { keyArn, materialId };
  }

  async #encrypt(
    plaintext: Uint8Array,
    {
      key,
      materialId,
      doing,
    }: { readonly key: string; readonly materialId: string | undefined; readonly doing: string },
    signal: AbortSignal,
  ) {
    const answer = await this.#call(doing, signal, (abortSignal) =>
      this.#client.send(
        new EncryptCommand({
          KeyId: key,
          Plaintext: plaintext,
          EncryptionContext: this.#contextFor(materialId),
          EncryptionAlgorithm: ALGORITHM,
        }),
        { abortSignal },
      ),
    );
    if (answer.CiphertextBlob === undefined)
      throw new BackendError('internal', `${doing}: no ciphertext in the answer`);
    return { keyArn: this.#ownKeyArn(answer.KeyId, doing), ciphertext: answer.CiphertextBlob };
  }

  async #decrypt(ciphertext: Uint8Array, { keyArn, materialId, doing }: DecryptTarget, signal: AbortSignal) {
    const answer = await this.#call(doing, signal, (abortSignal) =>
      this.#client.send(
        new DecryptCommand({
          KeyId: keyArn,
          CiphertextBlob: ciphertext,
          EncryptionContext: this.#contextFor(materialId),
          EncryptionAlgorithm: ALGORITHM,
        }),
        { abortSignal },
      ),
    );
    if (answer.Plaintext === undefined || answer.KeyId !== keyArn)
      throw new BackendError('internal', `${doing}: the answer has no plaintext, or names another key`);
    // A copy: the client's own may be a view into a buffer that Node shares out.
    const plaintext = Uint8Array.from(answer.Plaintext);
    answer.Plaintext.fill(0);
    return { plaintext, materialId: answer.KeyMaterialId };
  }

  #contextFor(materialId: string | undefined): Record<string, string> {
    return {
      ...this.#encryptionContext,
      sealwax: 'local-key',
      ...(materialId !== undefined && { 'sealwax-material': materialId }),
    };
  }

  /** The ARN in an answer: of a key where the config looks for it, or nothing that we would store. */
  #ownKeyArn(arn: string | undefined, doing: string): string {
    const parsed = parseKeyArn(arn ?? '');
    if (parsed === undefined || !parsed.resource.startsWith('key/') || !areNeighbours(parsed, this.#key))
      throw new BackendError('internal', `${doing}: the answer names a key of another region or account`);
    return parsed.arn;
  }

  /** Rejects as soon as `signal` aborts or the backend is closed, also while the client waits for credentials. */
  async #call<Answer>(
    doing: string,
    signal: AbortSignal,
    send: (abortSignal: AbortSignal) => Promise<Answer>,
  ): Promise<Answer> {
    const either = AbortSignal.any([signal, this.#closing.signal]);
    try {
      return await orAborted(() => send(either), either);
    } catch (error) {
      if (this.#closing.signal.aborted) throw new BackendError('internal', `${doing}: the backend is closed`);
      const failure = toKmsError(error, doing);
      if (failure.code === 'unauthenticated') this.#login.forget();
      throw failure;
    }
  }
}

interface DecryptTarget {
  readonly keyArn: string;
  readonly materialId: string | undefined;
  readonly doing: string;
}
