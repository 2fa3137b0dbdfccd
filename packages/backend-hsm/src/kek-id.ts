const PREFIX = 'hsm';
const NO_ID = '-';
const MAX_LENGTH = 512;
const ID = /^([0-9a-f]{2})*$/;
const FINGERPRINT = /^(none|(kcv|cbc|spki):[0-9a-f]{2,64})$/;

/** The parts of a KEK id: `hsm/<label>/<CKA_ID in hexadecimal>/<fingerprint>`, the label with percent signs for what a path may not hold. */
export interface KekName {
  readonly label: string;
  /** Hexadecimal, lower case; empty when the key has none. */
  readonly id: string;
  /** `kcv:…`, `cbc:…`, `spki:…`, or `none`; see `Fingerprints`. */
  readonly fingerprint: string;
}

export function formatKekId({ label, id, fingerprint }: KekName): string {
  return [PREFIX, encodeURIComponent(label), id === '' ? NO_ID : id, fingerprint].join('/');
}

/** @returns the parts, or `undefined` for what `formatKekId` did not make: stored data is not to be trusted */
export function parseKekId(kekId: string): KekName | undefined {
  const [prefix, encodedLabel, id, fingerprint, ...rest] = kekId.length > MAX_LENGTH ? [] : kekId.split('/');
  if (
    prefix !== PREFIX ||
    encodedLabel === undefined ||
    id === undefined ||
    fingerprint === undefined ||
    rest.length > 0
  )
    return undefined;
  let label: string;
  try {
    label = decodeURIComponent(encodedLabel);
  } catch {
    return undefined;
  }
  const name = { label, id: id === NO_ID ? '' : id, fingerprint };
  return formatKekId(name) === kekId && ID.test(name.id) && FINGERPRINT.test(fingerprint) ? name : undefined;
}
