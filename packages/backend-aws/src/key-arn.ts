/** The ARN of a KMS key or of an alias, taken apart. */
export interface KeyArn {
  readonly arn: string;
  readonly partition: string;
  readonly region: string;
  readonly account: string;
  /** `key/<id>` or `alias/<name>`. */
  readonly resource: string;
}

const ARN =
  /^arn:(aws[a-z-]{0,20}):kms:([a-z0-9-]{1,40}):(\d{12}):((?:key\/[A-Za-z0-9-]{1,64})|(?:alias\/[A-Za-z0-9/_-]{1,250}))$/;

/** `undefined` when `text` is no ARN of a key or an alias. */
export function parseKeyArn(text: string): KeyArn | undefined {
  const [arn, partition, region, account, resource] = ARN.exec(text) ?? [];
  if (arn === undefined || partition === undefined || region === undefined) return undefined;
  if (account === undefined || resource === undefined) return undefined;
  return { arn, partition, region, account, resource };
}

/** By the first letters of a region's name; every other region is in `aws`. */
const PARTITION_OF: readonly (readonly [prefix: string, partition: string])[] = [
  ['cn-', 'aws-cn'],
  ['us-gov-', 'aws-us-gov'],
  ['us-iso-', 'aws-iso'],
  ['us-isob-', 'aws-iso-b'],
  ['us-isof-', 'aws-iso-f'],
  ['eu-isoe-', 'aws-iso-e'],
  ['eusc-', 'aws-eusc'],
];

/** The ARN of a key or an alias that is named without its region and account. */
export function keyArnOf(
  name: string,
  { region, account }: { readonly region: string; readonly account: string },
): string {
  const partition = PARTITION_OF.find(([prefix]) => region.startsWith(prefix))?.[1] ?? 'aws';
  return `arn:${partition}:kms:${region}:${account}:${name.startsWith('alias/') ? name : `key/${name}`}`;
}

/** Whether both stand in the same partition, account and region: one endpoint serves both, and one set of policies. */
export function areNeighbours(one: KeyArn, other: KeyArn): boolean {
  return one.partition === other.partition && one.region === other.region && one.account === other.account;
}
