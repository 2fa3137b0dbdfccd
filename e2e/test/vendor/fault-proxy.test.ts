import { once } from 'node:events';
import { Agent, createServer, request, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { FaultProxy } from '../../src/fault-proxy.js';

const BODY = 'a body of some length';

let service: Server;
let upstreamPort: number;
let proxy: FaultProxy;
let agent: Agent;
beforeAll(async () => {
  service = createServer((_request, response) => response.end(BODY));
  service.listen(0, '127.0.0.1');
  await once(service, 'listening');
  upstreamPort = (service.address() as AddressInfo).port;
});
afterAll(() => {
  service.closeAllConnections();
  service.close();
});
afterEach(async () => {
  agent.destroy();
  await proxy.stop();
});

/** The tests below do with both what holds for both. */
const kinds = [
  ['bytes', {}],
  ['HTTP', { http: {} }],
] as const;

async function start(options: object): Promise<void> {
  proxy = await FaultProxy.start({ upstreamPort, ...options });
  // One connection at a time, kept: each fault meets one that is open already.
  agent = new Agent({ keepAlive: true, maxSockets: 1 });
}

async function get(): Promise<string> {
  const outgoing = request({ agent, host: '127.0.0.1', port: proxy.port });
  outgoing.setTimeout(500, () => outgoing.destroy(new Error('no answer')));
  outgoing.end();
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  return text(response);
}

test.each(kinds)('%s: passes, and counts connections', async (_kind, options) => {
  await start(options);
  expect(await get()).toBe(BODY);
  expect(await get()).toBe(BODY);
  expect(proxy.connections).toBe(1);
});

test.each(kinds)('%s: refuses, also over an open connection, and heals on the same port', async (_kind, options) => {
  await start(options);
  await get();
  await proxy.set({ kind: 'refuse' });
  await expect(get()).rejects.toMatchObject({ code: expect.stringMatching(/^ECONN(REFUSED|RESET)$/) });
  await expect(get()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  await proxy.set({ kind: 'pass' });
  expect(await get()).toBe(BODY);
});

test.each(kinds)('%s: resets open and new connections', async (_kind, options) => {
  await start(options);
  await get();
  await proxy.set({ kind: 'reset' });
  await expect(get()).rejects.toMatchObject({ code: 'ECONNRESET' });
  await expect(get()).rejects.toMatchObject({ code: 'ECONNRESET' });
  await proxy.set({ kind: 'pass' });
  expect(await get()).toBe(BODY);
});

test.each(kinds)('%s: a black hole accepts and never answers, then hands on what it held', async (_kind, options) => {
  await start(options);
  await get();
  await proxy.set({ kind: 'black-hole' });
  await expect(get()).rejects.toThrow('no answer');
  const held = get();
  await proxy.set({ kind: 'pass' });
  expect(await held).toBe(BODY);
});

test.each(kinds)('%s: delays', async (_kind, options) => {
  await start(options);
  await proxy.set({ kind: 'delay', ms: 60 });
  const startedAt = performance.now();
  expect(await get()).toBe(BODY);
  expect(performance.now() - startedAt).toBeGreaterThanOrEqual(115);
});

test.each(kinds)('%s: cuts', async (_kind, options) => {
  await start(options);
  await get();
  await proxy.set({ kind: 'cut' });
  await expect(get()).rejects.toMatchObject({ code: expect.stringMatching(/^ECONNRESET|HPE_/) });
  await proxy.set({ kind: 'pass' });
  expect(await get()).toBe(BODY);
});

test('HTTP: answers in the place of the service, also over an open connection, and counts requests', async () => {
  await start({ http: {} });
  await get();
  await proxy.set({ kind: 'answer', status: 429, retryAfterSeconds: 7, body: '{"error":"slow down"}' });
  const outgoing = request({ agent, host: '127.0.0.1', port: proxy.port }).end();
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  expect(response).toMatchObject({ statusCode: 429, headers: { 'retry-after': '7' } });
  expect(await text(response)).toBe('{"error":"slow down"}');
  expect(proxy).toMatchObject({ requests: 2, connections: 1 });
});

test('HTTP: a cut comes after half of the body', async () => {
  await start({ http: {} });
  await proxy.set({ kind: 'cut' });
  const outgoing = request({ agent, host: '127.0.0.1', port: proxy.port }).end();
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  let seen = '';
  response.on('data', (piece: Buffer) => (seen += piece.toString()));
  await expect(once(response, 'end')).rejects.toThrow('aborted');
  expect(seen).toBe(BODY.slice(0, BODY.length / 2));
});
