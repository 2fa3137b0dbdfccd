import { chmod, rename, rm, writeFile } from 'node:fs/promises';
import type { Agent } from 'node:http';
import path from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { BackendError } from '../src/backend-error.js';
import { lendHost } from '../src/host.js';
import type { TlsFiles } from '../src/https-agent.js';
import { newAuthority, type Authority, type Certificate } from './certificates.js';
import { temporaryDirectory } from './temporary-directory.js';
import { get, startConnectProxy, startTlsServer } from './tls-server.js';
import { until } from './until.js';

let authority: Authority;
let other: Authority;
let serverCertificate: Certificate;
beforeAll(async () => {
  [authority, other] = await Promise.all([newAuthority('ours'), newAuthority('theirs')]);
  serverCertificate = await authority.issue('kms', { dns: ['localhost'], ip: ['127.0.0.1'] });
});

// The machine's own proxies are not what is tested.
beforeEach(() => {
  for (const name of ['HTTPS_PROXY', 'HTTP_PROXY', 'ALL_PROXY', 'NO_PROXY']) {
    vi.stubEnv(name, undefined);
    vi.stubEnv(name.toLowerCase(), undefined);
  }
});
afterEach(() => {
  vi.unstubAllEnvs();
});

/** An agent as a backend gets it, and what ends it. */
async function agentWith(files?: TlsFiles): Promise<{ agent: Agent; life: AbortController }> {
  const life = new AbortController();
  onTestFinished(() => {
    life.abort();
  });
  return { agent: await lendHost('vault', () => undefined, life.signal).httpsAgent(files), life };
}

/** Writes `content` in one step, as whoever renews certificates should. */
async function put(file: string, content: string, mode = 0o600): Promise<string> {
  await writeFile(`${file}.new`, content);
  await chmod(`${file}.new`, mode);
  await rename(`${file}.new`, file);
  return file;
}

async function filesOf(content: { ca?: string; certificate?: Certificate }) {
  const directory = await temporaryDirectory();
  const files = {
    caFile: path.join(directory, 'ca.pem'),
    certFile: path.join(directory, 'tls.crt'),
    keyFile: path.join(directory, 'tls.key'),
  };
  await put(files.caFile, content.ca ?? authority.ca, 0o644);
  if (content.certificate === undefined) return { caFile: files.caFile };
  await put(files.certFile, content.certificate.cert, 0o644);
  await put(files.keyFile, content.certificate.key);
  return files;
}

describe('trust', () => {
  test('is in the CA of caFile', async () => {
    const { port } = await startTlsServer(serverCertificate);
    const { agent } = await agentWith(await filesOf({}));
    expect(await get(agent, port)).toEqual({ serverName: false });
  });

  test('is in no other, where caFile names one', async () => {
    const { port, seen } = await startTlsServer(serverCertificate);
    const { agent } = await agentWith(await filesOf({ ca: other.ca }));
    await expect(get(agent, port)).rejects.toMatchObject({ code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' });
    expect(seen.connections).toBeLessThanOrEqual(1);
  });

  test("is in the system's CAs without caFile, so not in ours", async () => {
    const { port } = await startTlsServer(serverCertificate);
    const { agent } = await agentWith();
    await expect(get(agent, port)).rejects.toMatchObject({ code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' });
  });

  test('asks for the name in the address, or for serverName', async () => {
    const { port } = await startTlsServer(await authority.issue('kms', { dns: ['kms.internal'] }));
    const files = await filesOf({});
    const { agent } = await agentWith(files);
    await expect(get(agent, port)).rejects.toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
    const named = await agentWith({ ...files, serverName: 'kms.internal' });
    expect(await get(named.agent, port)).toEqual({ serverName: 'kms.internal' });
    const misnamed = await agentWith({ ...files, serverName: 'kms.example' });
    await expect(get(misnamed.agent, port)).rejects.toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
  });
});

describe('a server that asks for a certificate', () => {
  test('gets ours', async () => {
    const { port } = await startTlsServer(serverCertificate, authority.ca);
    const { agent } = await agentWith(await filesOf({ certificate: await authority.issue('sealwax') }));
    expect(await get(agent, port)).toMatchObject({ clientName: 'sealwax' });
  });

  test('refuses us without one, or with one of another CA', async () => {
    const { port } = await startTlsServer(serverCertificate, authority.ca);
    const without = await agentWith(await filesOf({}));
    await expect(get(without.agent, port)).rejects.toThrow();
    const foreign = await agentWith(await filesOf({ certificate: await other.issue('sealwax') }));
    await expect(get(foreign.agent, port)).rejects.toThrow();
  });
});

describe('connections', () => {
  test('are kept from one request to the next', async () => {
    const { port, seen } = await startTlsServer(serverCertificate);
    const { agent } = await agentWith(await filesOf({}));
    for (let round = 0; round < 5; round += 1) await get(agent, port);
    expect(seen.connections).toBe(1);
  });

  test('are closed when the signal aborts, those in use too', async () => {
    const { port, seen, server } = await startTlsServer(serverCertificate);
    server.removeAllListeners('request');
    const { agent, life } = await agentWith(await filesOf({}));
    const unanswered = get(agent, port);
    await until(() => seen.open.size === 1);
    life.abort();
    await expect(unanswered).rejects.toThrow();
    await until(() => seen.open.size === 0);
  });

  test('that idle are closed when the signal aborts', async () => {
    const { port, seen } = await startTlsServer(serverCertificate);
    const { agent, life } = await agentWith(await filesOf({}));
    await get(agent, port);
    expect(seen.open.size).toBe(1);
    life.abort();
    await until(() => seen.open.size === 0);
  });
});

describe('files that change count for the next connection', () => {
  const BETWEEN_POLLS = { withinMs: 20_000 };

  test('the CA', { timeout: 60_000 }, async () => {
    const files = await filesOf({});
    const { agent } = await agentWith(files);
    const before = await startTlsServer(serverCertificate);
    const after = await startTlsServer(await other.issue('kms', { ip: ['127.0.0.1'] }));
    await get(agent, before.port);
    await expect(get(agent, after.port)).rejects.toThrow();
    let trusted = false;
    // Again and again: the first change may come before the watch has looked for the first time.
    for (let round = 0; round < 20 && !trusted; round += 1) {
      await put(files.caFile, `${other.ca}${'\n'.repeat(round)}`, 0o644);
      await new Promise((resolve) => setTimeout(resolve, 500));
      trusted = await get(agent, after.port).then(
        () => true,
        () => false,
      );
    }
    expect(trusted).toBe(true);
    const anew = await startTlsServer(serverCertificate);
    await expect(get(agent, anew.port)).rejects.toMatchObject({ code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' });
  });

  test('our certificate and its key; one without the other changes nothing', { timeout: 60_000 }, async () => {
    const files = (await filesOf({ certificate: await authority.issue('first') })) as Record<
      'caFile' | 'certFile' | 'keyFile',
      string
    >;
    const { agent } = await agentWith(files);
    const clientName = async () => {
      const { port } = await startTlsServer(serverCertificate, authority.ca);
      return (await get(agent, port)).clientName;
    };
    expect(await clientName()).toBe('first');
    const second = await authority.issue('second');
    for (let round = 0; round < 6; round += 1) {
      await put(files.certFile, `${second.cert}${'\n'.repeat(round)}`, 0o644);
      await new Promise((resolve) => setTimeout(resolve, 500));
      expect(await clientName()).toBe('first');
    }
    let seen: string | undefined;
    for (let round = 0; round < 20 && seen !== 'second'; round += 1) {
      await put(files.keyFile, `${second.key}${'\n'.repeat(round)}`);
      await new Promise((resolve) => setTimeout(resolve, 500));
      seen = await clientName();
    }
    expect(seen).toBe('second');
  });

  test('a file that is gone, or no certificate, changes nothing', { timeout: 60_000 }, async () => {
    const files = await filesOf({});
    const { agent } = await agentWith(files);
    const { port, seen } = await startTlsServer(serverCertificate);
    const ask = async () => {
      await get(agent, port);
      for (const socket of seen.open) socket.destroy();
      await until(() => seen.open.size === 0, BETWEEN_POLLS);
    };
    await ask();
    for (const change of [
      () => rm(files.caFile),
      () => put(files.caFile, 'no certificate', 0o644),
      () => put(files.caFile, other.ca, 0o666),
    ]) {
      await change();
      for (let round = 0; round < 5; round += 1) {
        await new Promise((resolve) => setTimeout(resolve, 500));
        await ask();
      }
    }
  });
});

describe('files that cannot be used', () => {
  const refusal = async (files: TlsFiles) => {
    const error: unknown = await agentWith(files).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(BackendError);
    expect((error as BackendError).code).toBe('unauthenticated');
    return (error as BackendError).message;
  };

  test('are named with the reason: there is no login without them', async () => {
    const directory = await temporaryDirectory();
    const missing = path.join(directory, 'none.pem');
    expect(await refusal({ caFile: missing })).toBe(`vault: read certificates: ${missing}: no such file or directory`);
    expect(await refusal({ certFile: missing })).toBe(
      `vault: read certificates: ${missing}: no such file or directory`,
    );
    expect(await refusal({ keyFile: missing })).toBe(`vault: read secret file: ${missing}: no such file or directory`);
  });

  test('are those that others may write to, and a key that others may read', async () => {
    const files = (await filesOf({ certificate: await authority.issue('sealwax') })) as Record<
      'caFile' | 'certFile' | 'keyFile',
      string
    >;
    await chmod(files.keyFile, 0o644);
    expect(await refusal(files)).toContain(`chmod 0640 ${files.keyFile}`);
    await chmod(files.keyFile, 0o600);
    await chmod(files.caFile, 0o666);
    expect(await refusal(files)).toContain(`chmod 0644 ${files.caFile}`);
  });

  test('are a certificate and a key that do not belong together, and text that is neither', async () => {
    const files = (await filesOf({ certificate: await authority.issue('sealwax') })) as Record<
      'caFile' | 'certFile' | 'keyFile',
      string
    >;
    const { key } = await authority.issue('another');
    await put(files.keyFile, key);
    const message = await refusal(files);
    expect(message).toMatch(/^vault: read certificates: .*mismatch/);
    await put(files.caFile, 'no certificate', 0o644);
    expect(await refusal({ caFile: files.caFile })).toContain(files.caFile);
    for (const line of key.split('\n').slice(1, -2)) expect(message).not.toContain(line);
  });
});

describe('a proxy in the environment', () => {
  test('is asked to connect, and sees nothing of what goes through', async () => {
    const proxy = await startConnectProxy();
    const { port, seen } = await startTlsServer(serverCertificate);
    vi.stubEnv('HTTPS_PROXY', proxy.url);
    const { agent } = await agentWith(await filesOf({}));
    expect(await get(agent, port)).toMatchObject({});
    expect(proxy.asked).toHaveLength(1);
    expect(proxy.asked[0]).toMatch(new RegExp(`^CONNECT 127\\.0\\.0\\.1:${port} HTTP/1\\.1\r\n`));
    expect(seen.connections).toBe(1);
  });

  test.each(['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY'])('counts as %s', async (name) => {
    const proxy = await startConnectProxy();
    const { port } = await startTlsServer(serverCertificate);
    vi.stubEnv(name, proxy.url);
    const { agent } = await agentWith(await filesOf({}));
    await get(agent, port);
    expect(proxy.asked).toHaveLength(1);
  });

  test('is left out for what NO_PROXY names', async () => {
    const proxy = await startConnectProxy();
    const { port } = await startTlsServer(serverCertificate);
    vi.stubEnv('HTTPS_PROXY', proxy.url);
    vi.stubEnv('NO_PROXY', '127.0.0.1');
    const { agent } = await agentWith(await filesOf({}));
    await get(agent, port);
    expect(proxy.asked).toEqual([]);
    await get(agent, port, 'localhost');
    expect(proxy.asked).toHaveLength(1);
  });

  test('makes no difference to trust, to serverName and to our certificate', async () => {
    const proxy = await startConnectProxy();
    const named = await authority.issue('kms', { dns: ['kms.internal'] });
    const { port } = await startTlsServer(named, authority.ca);
    vi.stubEnv('HTTPS_PROXY', proxy.url);
    const files = await filesOf({ certificate: await authority.issue('sealwax') });
    const { agent } = await agentWith({ ...files, serverName: 'kms.internal' });
    expect(await get(agent, port)).toEqual({ serverName: 'kms.internal', clientName: 'sealwax' });
    const distrusting = await agentWith({ ...(await filesOf({ ca: other.ca })), serverName: 'kms.internal' });
    await expect(get(distrusting.agent, port)).rejects.toMatchObject({ code: 'SELF_SIGNED_CERT_IN_CHAIN' });
    const misnamed = await agentWith(files);
    await expect(get(misnamed.agent, port)).rejects.toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
  });

  test('makes no difference to an address without a name: the certificate must carry it', async () => {
    const proxy = await startConnectProxy();
    vi.stubEnv('HTTPS_PROXY', proxy.url);
    const { agent } = await agentWith(await filesOf({}));
    const byAddress = await startTlsServer(await authority.issue('kms', { ip: ['127.0.0.1'] }));
    expect(await get(agent, byAddress.port)).toMatchObject({ serverName: false });
    const local = await startTlsServer(await authority.issue('kms', { dns: ['localhost'] }));
    await expect(get(agent, local.port)).rejects.toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
    expect(await get(agent, local.port, 'localhost')).toMatchObject({ serverName: 'localhost' });
  });

  test('gets the name and password of its URL', async () => {
    const proxy = await startConnectProxy();
    const { port } = await startTlsServer(serverCertificate);
    vi.stubEnv('HTTPS_PROXY', proxy.url.replace('//', '//user:pass@'));
    const { agent } = await agentWith(await filesOf({}));
    await get(agent, port);
    expect(proxy.asked[0]).toContain(`Proxy-Authorization: Basic ${Buffer.from('user:pass').toString('base64')}`);
  });

  test('that refuses makes the request fail, as no answer of the KMS; nothing goes around it', async () => {
    const proxy = await startConnectProxy(403);
    const { port, seen } = await startTlsServer(serverCertificate);
    vi.stubEnv('HTTPS_PROXY', proxy.url);
    const { agent } = await agentWith(await filesOf({}));
    await expect(get(agent, port)).rejects.toMatchObject({
      code: 'ECONNREFUSED',
      message: `the proxy ${new URL(proxy.url).host} answered 403 refused`,
    });
    expect(seen.connections).toBe(0);
  });

  test('keeps a tunnel from one request to the next, until the signal aborts', async () => {
    const proxy = await startConnectProxy();
    const { port, seen } = await startTlsServer(serverCertificate);
    vi.stubEnv('HTTPS_PROXY', proxy.url);
    const { agent, life } = await agentWith(await filesOf({}));
    for (let round = 0; round < 3; round += 1) await get(agent, port);
    expect(proxy.asked).toHaveLength(1);
    life.abort();
    await until(() => proxy.open.size === 0 && seen.open.size === 0);
  });

  test('gets the newest certificates too', { timeout: 60_000 }, async () => {
    const proxy = await startConnectProxy();
    vi.stubEnv('HTTPS_PROXY', proxy.url);
    const files = await filesOf({});
    const { agent } = await agentWith(files);
    const before = await startTlsServer(serverCertificate);
    await get(agent, before.port);
    const after = await startTlsServer(await other.issue('kms', { ip: ['127.0.0.1'] }));
    let trusted = false;
    for (let round = 0; round < 20 && !trusted; round += 1) {
      await put(files.caFile, `${other.ca}${'\n'.repeat(round)}`, 0o644);
      await new Promise((resolve) => setTimeout(resolve, 500));
      trusted = await get(agent, after.port).then(
        () => true,
        () => false,
      );
    }
    expect(trusted).toBe(true);
    expect(proxy.asked.length).toBeGreaterThan(1);
  });
});

test('none is made when the signal has aborted: nobody would destroy it', async () => {
  const { caFile } = await filesOf({});
  await expect(lendHost('vault', () => undefined, AbortSignal.abort()).httpsAgent({ caFile })).rejects.toMatchObject({
    name: 'AbortError',
  });
});
