import { parseKeyArn, type KeyArn } from './key-arn.js';

/** What a KEK id says: the key, and which of its key materials where the form says so. */
export interface KekId {
  readonly key: KeyArn;
  readonly materialId: string | undefined;
}

// KeyMaterialId in the model of KMS: 64 hexadecimal digits.
const MATERIAL_ID = /^[0-9a-f]{64}$/;

/** `arn:…:key/<id>#<material id>`, or the ARN alone. */
export function formatKekId(keyArn: string, materialId: string | undefined): string {
  return materialId === undefined ? keyArn : `${keyArn}#${materialId}`;
}

/** Takes both forms, so that what one of them wrapped opens under the other. `undefined` when it is neither. */
export function parseKekId(kekId: string): KekId | undefined {
  const [arn = '', materialId, ...more] = kekId.split('#');
  const key = parseKeyArn(arn);
  if (key === undefined || !key.resource.startsWith('key/') || more.length > 0) return undefined;
  if (materialId !== undefined && !MATERIAL_ID.test(materialId)) return undefined;
  return { key, materialId };
}
