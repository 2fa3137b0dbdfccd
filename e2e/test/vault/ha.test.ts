import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { request as send, createServer } from 'node:https';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { FaultProxy } from '../../src/fault-proxy.js';
import { OpenBao } from '../../src/openbao/open-bao.js';
import { failureOf, never, VaultBench, type VaultSection } from '../../src/openbao/vault-bench.js';

const localKey = new Uint8Array(randomBytes(32));
const patience = { timeout: 30_000, interval: 200 };

let bench: VaultBench;
let standby: OpenBao;
let config: VaultSection;
beforeAll(async () => {
  bench = await VaultBench.start('vault-ha');
  standby = await OpenBao.start(`${bench.directory}/standby`, { leader: bench.bao });
  const { name } = await bench.key();
  config = await bench.config(name);
});
afterAll(async () => {
  await standby.stop();
  await bench.stop();
});

async function roundTrip(section: VaultSection): Promise<void> {
  const { backend } = await bench.open(section);
  expect(await backend.unwrap(await backend.wrap(localKey, never), never)).toEqual(localKey);
}

/** A node that does not forward to the active one but redirects: as a standby does that cannot reach it over the cluster's own port. */
async function redirecting(node: OpenBao): Promise<{ readonly address: string; readonly redirects: () => number }> {
  const { cert, key } = node.certificate;
  let redirects = 0;
  const server = createServer({ cert, key }, (request, response) => {
    const outgoing = send({
      host: '127.0.0.1',
      port: node.port,
      ca: node.authority.cert,
      servername: 'localhost',
      method: request.method,
      path: request.url,
      headers: { ...request.headers, 'x-vault-no-request-forwarding': 'true' },
    });
    outgoing.once('response', (incoming: IncomingMessage) => {
      if (incoming.statusCode === 307) redirects += 1;
      response.writeHead(incoming.statusCode ?? 502, incoming.headers);
      incoming.pipe(response);
    });
    outgoing.once('error', () => response.destroy());
    request.pipe(outgoing);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { address: `https://localhost:${(server.address() as AddressInfo).port}`, redirects: () => redirects };
}

test('a standby that forwards is as good as the active node', async () => {
  await roundTrip({ ...config, address: standby.url });
});

test('a standby that redirects to a configured address is followed', async () => {
  const { address, redirects } = await redirecting(standby);
  await roundTrip({ ...config, address, otherAddresses: [bench.bao.url] });
  // From the first answer on, the active node is asked at once.
  expect(redirects()).toBe(1);
});

test('a standby that redirects to an address that is not configured gets an error, and the address is in it', async () => {
  const { address } = await redirecting(standby);
  expect(await failureOf(bench.firstCall({ ...config, address }))).toMatchObject({
    code: 'unavailable',
    message: expect.stringContaining(`a standby redirects to ${bench.bao.url}`),
  });
});

test('a node that is away is passed over: refused, reset, sealed off by a black hole', async () => {
  const proxy = await FaultProxy.start({ upstreamPort: standby.port });
  onTestFinished(() => proxy.stop());
  const section = { ...config, address: `https://localhost:${proxy.port}`, otherAddresses: [bench.bao.url] };
  for (const kind of ['refuse', 'reset', 'black-hole'] as const) {
    await proxy.set({ kind });
    await roundTrip(section);
  }
  // An instance that runs goes over to the other node, and stays with it.
  await proxy.set({ kind: 'pass' });
  const { backend } = await bench.open(section);
  const wrappedKey = await backend.wrap(localKey, never);
  await proxy.set({ kind: 'refuse' });
  expect(await backend.unwrap(wrappedKey, never)).toEqual(localKey);
  await proxy.set({ kind: 'pass' });
  const { connections } = proxy;
  expect(await backend.unwrap(wrappedKey, never)).toEqual(localKey);
  expect(proxy.connections).toBe(connections);
});

test('without any node that answers, the error is of the last one and comes in time', async () => {
  const section = { ...config, address: 'https://localhost:1', otherAddresses: ['https://localhost:2'] };
  expect(await failureOf(bench.firstCall(section))).toMatchObject({
    code: 'unavailable',
    message: expect.stringContaining('connection refused'),
  });
});

test('a node that is restarted is met again by the same instance, over connections that died with it', async () => {
  const { backend } = await bench.open(config);
  const wrappedKey = await backend.wrap(localKey, never);
  await Promise.all(Array.from({ length: 8 }, async () => backend.unwrap(wrappedKey, never)));
  await standby.stop();
  await bench.bao.kill();
  expect(await failureOf(backend.unwrap(wrappedKey, never))).toMatchObject({ code: 'unavailable' });
  await bench.bao.resume();
  await standby.resume();
  await expect
    .poll(
      async () => backend.unwrap(wrappedKey, never).then((bytes) => Buffer.from(bytes).toString('hex'), String),
      patience,
    )
    .toBe(Buffer.from(localKey).toString('hex'));
  await Promise.all(Array.from({ length: 8 }, async () => backend.unwrap(wrappedKey, never)));
});
