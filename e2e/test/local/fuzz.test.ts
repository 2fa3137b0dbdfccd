import { status } from '@grpc/grpc-js';
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { fuzzedRpc, type FuzzedRpc } from '../../src/fuzzed-rpc.js';
import {
  decodeDecryptResponse,
  encodeDecryptRequest,
  encodeEncryptRequest,
  encodeStatusRequest,
} from '../../src/kms-wire.js';
import { Sealwax } from '../../src/sealwax.js';
import { SeededRandom } from '../../src/seeded-random.js';
import { testDirectory } from '../../src/test-directory.js';

const rpcs = 10_000;
const connections = 200;
const inFlight = 16;

/** Codes that say whose fault it was. UNKNOWN, INTERNAL, UNAVAILABLE, CANCELLED or a deadline would say that the plugin lost its way. */
const clearCodes: readonly (number | undefined)[] = [
  status.OK,
  status.INVALID_ARGUMENT,
  status.NOT_FOUND,
  status.FAILED_PRECONDITION,
  status.RESOURCE_EXHAUSTED,
  status.UNIMPLEMENTED,
];

const seed = new Uint8Array(32).fill(7);
const random = SeededRandom.announced('SEALWAX_FUZZ_SEED');
let sealwax: Sealwax;
let pid: number | undefined;
beforeAll(async () => {
  sealwax = await Sealwax.configure(await testDirectory('fuzz'));
  await sealwax.init();
  await sealwax.start();
  await sealwax.untilOk();
  pid = sealwax.pid;
});
afterAll(async () => {
  expect(await sealwax.stop()).toBe(0);
  sealwax.client.close();
});

test(`${rpcs} fuzzed RPCs leave the process alive, with a clear code each`, async () => {
  const sealed = await sealwax.client.encrypt(seed);
  const real = [
    { method: 'Decrypt', request: encodeDecryptRequest(sealed, 'fuzz') },
    { method: 'Encrypt', request: encodeEncryptRequest(seed, 'fuzz') },
    { method: 'Status', request: encodeStatusRequest() },
  ] as const;
  const codes = new Set<number | undefined>();
  let sent = 0;
  const send = async (): Promise<void> => {
    while (sent < rpcs) {
      sent += 1;
      const rpc = fuzzedRpc(random, real);
      const code = await codeOf(rpc);
      codes.add(code);
      const question = `${rpc.kind} ${rpc.method} ${Buffer.from(rpc.request.subarray(0, 4096)).toString('hex')}`;
      expect(clearCodes, question).toContain(code);
      if (rpc.kind === 'unknown method') expect(code).toBe(status.UNIMPLEMENTED);
      if (rpc.kind === 'oversize') expect(code).toBe(status.RESOURCE_EXHAUSTED);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, send));
  // Neither all refused at the door nor all let through.
  expect([...codes]).toEqual(expect.arrayContaining([status.OK, status.INVALID_ARGUMENT]));
  expect(sealwax.isAlive && sealwax.pid === pid).toBe(true);
  expect((await sealwax.client.status()).healthz).toBe('ok');
  expect(await sealwax.client.decrypt(sealed)).toEqual(seed);
});

test(`${connections} connections that speak no HTTP/2 leave it alive`, async () => {
  for (let connection = 0; connection < connections; connection += 1) {
    const socket = connect(sealwax.socketPath);
    // The plugin closes it, more or less politely.
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    const closed = once(socket, 'close');
    socket.resume().end(random.bytes(1 + random.below(4096)));
    await closed;
  }
  expect(sealwax.isAlive && sealwax.pid === pid).toBe(true);
  expect((await sealwax.client.status()).healthz).toBe('ok');
});

async function codeOf(rpc: FuzzedRpc): Promise<number | undefined> {
  try {
    const response = await sealwax.client.send(rpc.method, rpc.request);
    // A Decrypt that succeeds was harmless, such as one with another uid: the seed is the one that was sealed.
    if (rpc.method === 'Decrypt') expect(decodeDecryptResponse(response)).toEqual(seed);
    return status.OK;
  } catch (error) {
    if (error instanceof Error && 'code' in error && typeof error.code === 'number') return error.code;
    throw error;
  }
}
