import type { KMSClient } from '@aws-sdk/client-kms';
import {
  CreateAliasCommand,
  CreateKeyCommand,
  DisableKeyCommand,
  EnableKeyCommand,
  LimitExceededException,
  RotateKeyOnDemandCommand,
  ScheduleKeyDeletionCommand,
  UpdateAliasCommand,
  type CreateKeyCommandInput,
} from '@aws-sdk/client-kms';

/** What the owner of an alias does with the keys behind it. */
export class KmsAdmin {
  readonly client: KMSClient;
  /** ARN of the alias. */
  readonly aliasArn: string;
  readonly #aliasName: string;
  readonly #options: CreateKeyCommandInput;
  /** ARNs, the current one last. */
  readonly #keys: string[];

  private constructor(client: KMSClient, options: CreateKeyCommandInput, aliasName: string, key: string) {
    this.client = client;
    this.#options = options;
    this.#aliasName = aliasName;
    this.aliasArn = key.replace(/key\/.*$/, aliasName);
    this.#keys = [key];
  }

  /** Makes a key and an alias for it. */
  static async create(client: KMSClient, aliasName: string, options: CreateKeyCommandInput = {}): Promise<KmsAdmin> {
    const key = await createKey(client, options);
    await client.send(new CreateAliasCommand({ AliasName: aliasName, TargetKeyId: key }));
    return new KmsAdmin(client, options, aliasName, key);
  }

  /** ARN of the key that the alias points at. */
  get keyArn(): string {
    return this.#keys.at(-1)!;
  }

  /** ARNs of all keys that the alias has pointed at, the current one last. */
  get keyArns(): readonly string[] {
    return this.#keys;
  }

  /** New key material for the current key; a new key where that one has been rotated as often as KMS allows. */
  async rotate(): Promise<void> {
    try {
      await this.client.send(new RotateKeyOnDemandCommand({ KeyId: this.keyArn }));
    } catch (error) {
      if (!(error instanceof LimitExceededException)) throw error;
      await this.moveAlias();
    }
  }

  /** Makes another key and points the alias at it. */
  async moveAlias(): Promise<void> {
    const key = await createKey(this.client, this.#options);
    // By its id: LocalStack loses an alias that is moved to an ARN.
    const TargetKeyId = key.replace(/^.*:key\//, '');
    await this.client.send(new UpdateAliasCommand({ AliasName: this.#aliasName, TargetKeyId }));
    this.#keys.push(key);
  }

  async disable(): Promise<void> {
    for (const KeyId of this.#keys) await this.client.send(new DisableKeyCommand({ KeyId }));
  }

  async enable(): Promise<void> {
    for (const KeyId of this.#keys) await this.client.send(new EnableKeyCommand({ KeyId }));
  }

  /** As soon as KMS allows: after seven days. The keys are of no use from now on. */
  async scheduleDeletion(): Promise<void> {
    for (const KeyId of this.#keys)
      await this.client.send(new ScheduleKeyDeletionCommand({ KeyId, PendingWindowInDays: 7 }));
  }
}

async function createKey(client: KMSClient, options: CreateKeyCommandInput): Promise<string> {
  const { KeyMetadata: metadata } = await client.send(new CreateKeyCommand(options));
  if (metadata?.Arn === undefined) throw new Error('CreateKey returned no ARN');
  return metadata.Arn;
}
