import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

/** Of this run; whoever holds a token of another run is told so. */
const signingKey = randomBytes(32);

interface Claims {
  readonly audience: string;
  readonly application: string;
  readonly tenant: string;
  readonly seconds: number;
}

/** Claims as learn.microsoft.com/entra/identity-platform/access-token-claims-reference names them. */
export function issueToken({ audience, application, tenant, seconds }: Claims): string {
  const now = Math.floor(Date.now() / 1_000);
  const claims = {
    aud: audience,
    appid: application,
    oid: application,
    tid: tenant,
    iat: now,
    nbf: now,
    exp: now + seconds,
    uti: randomBytes(12).toString('base64url'),
  };
  const unsigned = [{ typ: 'JWT', alg: 'HS256' }, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
  return `${unsigned}.${signatureOf(unsigned)}`;
}

/** The claims of a token that this run issued and that has not expired; `undefined` for anything else. */
export function verifyToken(token: string): Readonly<Record<string, unknown>> | undefined {
  const end = token.lastIndexOf('.');
  if (end < 0) return undefined;
  const [given, own] = [token.slice(end + 1), signatureOf(token.slice(0, end))].map((text) => Buffer.from(text));
  if (given?.length !== own?.length || !timingSafeEqual(given ?? Buffer.of(), own ?? Buffer.of())) return undefined;
  const claims = readToken(token, { part: 'claims' });
  return typeof claims['exp'] === 'number' && claims['exp'] > Date.now() / 1_000 ? claims : undefined;
}

/** One part of a JWT, unverified; empty when there is none. */
export function readToken(
  token: string,
  { part }: { readonly part: 'head' | 'claims' },
): Readonly<Record<string, unknown>> {
  try {
    const text = Buffer.from(token.split('.')[part === 'head' ? 0 : 1] ?? '', 'base64url').toString('utf8');
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}

function signatureOf(unsigned: string): string {
  return createHmac('sha256', signingKey).update(unsigned).digest('base64url');
}
