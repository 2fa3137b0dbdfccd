import { generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';
import { isIPv4 } from 'node:net';

/** A certificate and its private key, PEM. */
export interface IssuedCertificate {
  readonly cert: string;
  readonly key: string;
}

/** On both sides of now, so that a client's clock may be a day off. */
const VALID_MS = 2 * 24 * 3_600_000;

/** A CA for one test run: its certificates are made in memory, and nothing that trusts it outlives the run. */
export class TestAuthority {
  readonly #name: string;
  readonly #key: KeyObject;
  /** PEM, for `caFile`. */
  readonly cert: string;

  constructor(name: string) {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.#name = name;
    this.#key = privateKey;
    // RFC 5280 §4.2.1.9 and §4.2.1.3: a CA, which signs certificates.
    const isAuthority = extension('551d13', sequence(Buffer.from('0101ff', 'hex')), { critical: true });
    const keyUsage = extension('551d0f', Buffer.from('03020204', 'hex'), { critical: true });
    this.cert = this.#certify(name, publicKey, [isAuthority, keyUsage]);
  }

  /** @param hosts - DNS names and IPv4 addresses that the certificate is for */
  issue(hosts: readonly [string, ...string[]]): IssuedCertificate {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    // RFC 5280 §4.2.1.6: dNSName is [2], iPAddress is [7].
    const names = hosts.map((host) =>
      isIPv4(host) ? element(0x87, Buffer.from(host.split('.').map(Number))) : element(0x82, Buffer.from(host)),
    );
    const cert = this.#certify(hosts[0], publicKey, [extension('551d11', sequence(...names), { critical: false })]);
    return { cert, key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
  }

  /** A certificate for an application that signs with RSA. */
  issueForRsa(name: string): IssuedCertificate {
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    return {
      cert: this.#certify(name, publicKey, [extension('551d0f', Buffer.from('03020780', 'hex'), { critical: true })]),
      key,
    };
  }

  /** RFC 5280 §4.1. */
  #certify(subject: string, publicKey: KeyObject, extensions: readonly Buffer[]): string {
    // ecdsa-with-SHA256, RFC 5758 §3.2.
    const algorithm = sequence(identifier('2a8648ce3d040302'));
    const serial = Buffer.concat([Buffer.of(1), randomBytes(15)]);
    const now = Date.now();
    const content = sequence(
      element(0xa0, Buffer.from('020102', 'hex')),
      element(0x02, serial),
      algorithm,
      commonName(this.#name),
      sequence(utcTime(new Date(now - VALID_MS)), utcTime(new Date(now + VALID_MS))),
      commonName(subject),
      publicKey.export({ type: 'spki', format: 'der' }),
      element(0xa3, sequence(...extensions)),
    );
    const signature = element(0x03, Buffer.concat([Buffer.of(0), sign('sha256', content, this.#key)]));
    const base64 = sequence(content, algorithm, signature).toString('base64');
    return `-----BEGIN CERTIFICATE-----\n${base64.replace(/.{1,64}/g, '$&\n')}-----END CERTIFICATE-----\n`;
  }
}

/** A DER element: tag, length, content (ITU-T X.690 §8.1). */
function element(tag: number, content: Uint8Array): Buffer {
  const { length } = content;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.of(tag, ...size), content]);
}

function sequence(...parts: readonly Uint8Array[]): Buffer {
  return element(0x30, Buffer.concat(parts));
}

/** @param hex - the content of the object identifier */
function identifier(hex: string): Buffer {
  return element(0x06, Buffer.from(hex, 'hex'));
}

function commonName(name: string): Buffer {
  return sequence(element(0x31, sequence(identifier('550403'), element(0x0c, Buffer.from(name)))));
}

function utcTime(date: Date): Buffer {
  return element(0x17, Buffer.from(`${date.toISOString().slice(2, 19).replace(/[-:T]/g, '')}Z`));
}

function extension(hex: string, value: Uint8Array, { critical }: { readonly critical: boolean }): Buffer {
  const flag = critical ? [Buffer.from('0101ff', 'hex')] : [];
  return sequence(identifier(hex), ...flag, element(0x04, value));
}
