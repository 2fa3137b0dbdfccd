import { generateKeyPairSync, sign } from 'node:crypto';

/** Somebody whose JWTs an auth method trusts. */
export class JwtIssuer {
  readonly #keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });

  /** PEM. */
  get publicKey(): string {
    return this.#keys.publicKey.export({ type: 'spki', format: 'pem' }).toString();
  }

  /** A JWT that is good for a minute, unless `claims` say otherwise. */
  issue(claims: Readonly<Record<string, unknown>>): string {
    const now = Math.floor(Date.now() / 1_000);
    const text = [
      { alg: 'ES256', typ: 'JWT' },
      { iat: now, nbf: now, exp: now + 60, ...claims },
    ]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.');
    const signature = sign('sha256', Buffer.from(text), { key: this.#keys.privateKey, dsaEncoding: 'ieee-p1363' });
    return `${text}.${signature.toString('base64url')}`;
  }
}
