import { X509Certificate } from 'node:crypto';
import type { Agent } from 'node:http';
import { Agent as HttpsAgent, type AgentOptions } from 'node:https';
import { createSecureContext } from 'node:tls';
import { BackendError } from './backend-error.js';
import { secretFile } from './secret-file.js';
import { FileError, readTrustedFile } from './trusted-file.js';

// Public; but whoever can write to it decides whom we trust.
const FORBIDDEN_CERTIFICATE_MODE = 0o022;
const KEEP_ALIVE_MS = 30_000;

/** Files for a TLS connection, as paths from a backend's config. */
export interface TlsFiles {
  /** CA certificates (PEM) that are trusted instead of the system's. */
  readonly caFile?: string | undefined;
  /** Our own certificate (PEM, chain included), for servers that ask for one. */
  readonly certFile?: string | undefined;
  /** Its private key (PEM). */
  readonly keyFile?: string | undefined;
  /** The name that the server's certificate must carry, where the address does not say it. */
  readonly serverName?: string | undefined;
}

/** See `Host.httpsAgent`. */
export async function httpsAgent(files: TlsFiles, owner: string, signal: AbortSignal): Promise<Agent> {
  const options: AgentOptions = { keepAlive: true, timeout: KEEP_ALIVE_MS, ...(await readTls(files, owner)) };
  const direct = new HttpsAgent(options);
  // A library for proxies costs start time and memory: most nodes have none.
  const agent = namesProxy() ? (await import('./proxying-agent.js')).proxyingAgent(direct) : direct;
  // Nobody would destroy it.
  signal.throwIfAborted();
  const reread = () => {
    readTls(files, owner).then(
      (read) => Object.assign(direct.options, read),
      // A file in the middle of its replacement, or a certificate whose key has not come yet: until the next change the old ones go on.
      () => undefined,
    );
  };
  for (const file of [files.caFile, files.certFile, files.keyFile]) {
    if (file !== undefined) secretFile(file, owner).onChange(reread, signal);
  }
  signal.addEventListener('abort', () => {
    agent.destroy();
  });
  return agent;
}

function namesProxy(): boolean {
  return Object.keys(process.env).some((name) => /^(https|all)_proxy$/i.test(name));
}

async function readTls({ caFile, certFile, keyFile, serverName }: TlsFiles, owner: string): Promise<AgentOptions> {
  const read = {
    ...(caFile !== undefined && { ca: await readCertificates(caFile, owner) }),
    ...(certFile !== undefined && { cert: await readCertificates(certFile, owner) }),
    ...(keyFile !== undefined && { key: Buffer.from(await secretFile(keyFile, owner).read()) }),
  };
  try {
    // Else a certificate and a key that do not belong together would only be found by the first connection; and of a CA that is none OpenSSL
    // says nothing at all.
    createSecureContext(read);
    if (read.ca !== undefined) new X509Certificate(read.ca);
  } catch (error) {
    const files = [caFile, certFile, keyFile].filter((file) => file !== undefined).join(', ');
    const reason = error instanceof Error ? error.message : String(error);
    throw new BackendError('unauthenticated', `${owner}: read certificates: ${files}: ${reason}`, { cause: error });
  }
  return { ...read, ...(serverName !== undefined && { servername: serverName }) };
}

async function readCertificates(file: string, owner: string): Promise<Buffer> {
  try {
    return Buffer.from(await readTrustedFile(file, FORBIDDEN_CERTIFICATE_MODE));
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    throw new BackendError('unauthenticated', `${owner}: read certificates: ${error.message}`, { cause: error });
  }
}
