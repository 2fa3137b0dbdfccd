import { once } from 'node:events';
import { rename } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { connect } from 'node:net';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { makeKeyFile, writeConfig } from './config-file.js';
import { atEndOfFile } from './end-of-file.js';
import { startPlugin, startWith, type Plugin } from './plugin.js';
import { temporaryDirectory } from './temporary-directory.js';
import { until } from './until.js';

let plugin: Plugin;
beforeAll(async () => {
  plugin = await startPlugin({ atEnd: atEndOfFile });
});

/** Sends `request` as it is; what came back until the server closed, or `''` when it said nothing. */
async function raw(address: string, request: string): Promise<string> {
  const [host, port] = address.split(':');
  const socket = connect(Number(port), host);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.on('error', () => undefined);
  socket.write(request);
  await once(socket, 'close');
  return Buffer.concat(chunks).toString();
}

async function lookAt(path: string) {
  const response = await plugin.http(path);
  return { status: response.status, text: await response.text(), type: response.headers.get('content-type') };
}

describe('a plugin that serves', () => {
  test('lives', async () => {
    expect(await lookAt('/livez')).toMatchObject({ status: 200, text: 'ok\n' });
  });

  test('is ready', async () => {
    expect(await lookAt('/readyz')).toMatchObject({ status: 200, text: 'ok\n' });
  });

  test('names with ?verbose each key, its state, since when, and its KEK id', async () => {
    const { status, text } = await lookAt('/readyz?verbose');
    expect(status).toBe(200);
    expect(text).toMatch(
      /^\[\+\] key prod \([^)]*\blocal\b[^)]*\): ready for \d+ s; KEK id local\/[0-9a-f]{32}; last good contact \d+ s ago$/m,
    );
    expect(text.trimEnd().split('\n').at(-1)).toBe('ok');
  });

  test('answers HEAD as GET, without the body', async () => {
    const response = await plugin.http('/readyz', { method: 'HEAD' });
    expect({ status: response.status, text: await response.text() }).toEqual({ status: 200, text: '' });
  });

  test.each(['POST', 'PUT', 'DELETE', 'OPTIONS'])('refuses %s', async (method) => {
    expect((await plugin.http('/livez', { method })).status).toBe(405);
  });

  test.each(['/', '/debug/pprof', '/readyz/x', '/livezz', '/metrics/'])('has nothing at %s', async (path) => {
    expect((await lookAt(path)).status).toBe(404);
  });

  test.each([
    'GET // HTTP/1.1\r\n',
    'GET http:// HTTP/1.1\r\n',
    'GET http://[ HTTP/1.1\r\n',
    'GET /%zz?verbose=%zz HTTP/1.1\r\n',
    'GET * HTTP/1.1\r\n',
    'GET \\ HTTP/1.1\r\n',
    'OPTIONS * HTTP/1.1\r\n',
    'CONNECT //:x HTTP/1.1\r\n',
    'no http at all\r\n',
    '\0\0\0\0',
  ])('outlives %j', async (line) => {
    const answer = await raw(plugin.config.httpAddress, `${line}Host: x\r\nConnection: close\r\n\r\n`);
    if (answer !== '') expect(answer).toMatch(/^HTTP\/1\.1 4\d\d /);
    expect(plugin.isRunning).toBe(true);
    expect((await lookAt('/livez')).status).toBe(200);
  });

  test('listens on the address of the config and on no other', async () => {
    const port = plugin.config.httpAddress.split(':')[1]!;
    await expect(fetch(`http://[::1]:${port}/livez`)).rejects.toThrow();
    await expect(fetch(`http://127.0.0.2:${port}/livez`)).rejects.toThrow();
  });
});

describe('a plugin whose KMS never answered', () => {
  test('lives, is not ready, and says which key waits for what', async () => {
    const config = await writeConfig(await temporaryDirectory());
    const waiting = startWith(config);
    const text = await until(async () => {
      const response = await waiting.http('/readyz?verbose');
      const body = await response.text();
      return response.status === 503 && body.includes('failing') && body;
    });
    expect(text).toMatch(
      /^\[-\] key prod \([^)]*\blocal\b[^)]*\): failing for \d+ s; KEK id not read yet; no good contact yet; key-not-found: /m,
    );
    expect(text).toContain(config.keyFile);
    expect((await waiting.http('/livez')).status).toBe(200);
    await makeKeyFile(config);
    await waiting.untilReady();
  });
});

describe('a plugin whose KMS is gone', () => {
  test('is ready while it serves from memory, and ?verbose says what fails', async () => {
    const bridging = await startPlugin();
    await rename(bridging.config.keyFile, `${bridging.config.keyFile}.away`);
    const text = await until(async () => {
      const body = await (await bridging.http('/readyz?verbose')).text();
      return body.includes('failing') && body;
    });
    expect(text).toMatch(
      /^\[-\] key prod \([^)]*\blocal\b[^)]*\): failing for \d+ s; KEK id local\/[0-9a-f]{32}; last good contact \d+ s ago; key-not-found: /m,
    );
    expect((await bridging.http('/readyz')).status).toBe(200);
    expect((await bridging.http('/livez')).status).toBe(200);
  });
});

describe('a busy port', () => {
  async function occupy(address: string): Promise<Server> {
    const [host, port] = address.split(':');
    const server = createServer((_request, response) => response.end('somebody else')).listen(Number(port), host);
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    return server;
  }

  test('is logged and retried, and the socket serves meanwhile', async () => {
    const config = await writeConfig(await temporaryDirectory());
    await makeKeyFile(config);
    const other = await occupy(config.httpAddress);
    const late = startWith(config);
    const rpc = await late.connect();
    onTestFinished(() => {
      rpc.close();
    });
    await until(async () => (await rpc.status()).healthz === 'ok');
    const line = await until(() => late.log.find(({ msg }) => String(msg).startsWith('http: cannot listen')));
    expect(line).toMatchObject({ level: 'warn', address: config.httpAddress, error: { code: 'EADDRINUSE' } });
    other.closeAllConnections();
    other.close();
    await late.untilReady();
    expect(await (await late.http('/livez')).text()).toBe('ok\n');
  });

  test('does not keep the process from stopping', async () => {
    const config = await writeConfig(await temporaryDirectory());
    await occupy(config.httpAddress);
    const waiting = startWith(config);
    await until(() => waiting.output.includes('http: cannot listen'));
    expect(await waiting.stop()).toEqual({ code: 0, signal: null });
  });
});
