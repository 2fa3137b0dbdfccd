import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import {
  BasicConstraintsExtension,
  cryptoProvider,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';

type Crypto = Parameters<typeof cryptoProvider.set>[0];
type KeyPair = Awaited<ReturnType<typeof newKey>>;

cryptoProvider.set(webcrypto as unknown as Crypto);

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 86_400_000;

/** A certificate and its private key, both PEM. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** A certificate authority of our own. */
export interface Authority {
  /** Its certificate, PEM. */
  readonly ca: string;
  /** A certificate for a server or a client. */
  issue(
    commonName: string,
    names?: { readonly dns?: readonly string[]; readonly ip?: readonly string[] },
  ): Promise<Certificate>;
}

const newKey = () => webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
const validity = () => ({ notBefore: new Date(Date.now() - DAY_MS), notAfter: new Date(Date.now() + DAY_MS) });

export async function newAuthority(commonName: string): Promise<Authority> {
  const keys = await newKey();
  const authority = await X509CertificateGenerator.createSelfSigned({
    name: `CN=${commonName}`,
    keys: keys as never,
    signingAlgorithm: ALGORITHM,
    ...validity(),
    extensions: [new BasicConstraintsExtension(true, undefined, true)],
  });
  return {
    ca: `${authority.toString('pem')}\n`,
    async issue(subject, { dns = [], ip = [] } = {}) {
      const own = await newKey();
      const certificate = await X509CertificateGenerator.create({
        subject: `CN=${subject}`,
        issuer: authority.subject,
        signingKey: keys.privateKey as never,
        publicKey: own.publicKey as never,
        signingAlgorithm: ALGORITHM,
        ...validity(),
        extensions: [
          new SubjectAlternativeNameExtension([
            ...dns.map((value) => ({ type: 'dns' as const, value })),
            ...ip.map((value) => ({ type: 'ip' as const, value })),
          ]),
          new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
        ],
      });
      return { cert: `${certificate.toString('pem')}\n`, key: await privateKeyPem(own) };
    },
  };
}

async function privateKeyPem({ privateKey }: KeyPair): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', privateKey));
  const lines = der.toString('base64').replaceAll(/(.{64})/g, '$1\n');
  return `-----BEGIN PRIVATE KEY-----\n${lines}\n-----END PRIVATE KEY-----\n`;
}
