import { gzipSync } from 'node:zlib';
import { ANNOTATION_NAME } from '@sealwax/core';
import { beforeAll, describe, expect, test } from 'vitest';
import { EncryptRequest } from '../src/gen/kms/v2/kms.js';
import { atEndOfFile } from './end-of-file.js';
import { startPlugin, type Plugin } from './plugin.js';
import { decryptRequest, frame, type RpcConnection } from './rpc.js';
import { until } from './until.js';

// Numbers of the gRPC specification.
const OK = 0;
const INVALID_ARGUMENT = 3;
const DEADLINE_EXCEEDED = 4;
const RESOURCE_EXHAUSTED = 8;
const UNIMPLEMENTED = 12;

const MAX_REQUEST_BYTES = 64 * 1024;
const seed = new Uint8Array(32).map((_, index) => 200 - index);

let plugin: Plugin;
let rpc: RpcConnection;
beforeAll(async () => {
  plugin = await startPlugin({ sections: { log: { level: 'debug' } }, atEnd: atEndOfFile });
  rpc = await plugin.connect();
  atEndOfFile(() => {
    rpc.close();
  });
});

const encryptRequest = (plaintext: Uint8Array, uid = 'test') =>
  EncryptRequest.encode({ plaintext: Buffer.from(plaintext), uid }).finish();
const linesOf = (uid: string) => plugin.log.filter((line) => line['uid'] === uid);

describe('the three RPCs', () => {
  test('Status, Encrypt and Decrypt agree', async () => {
    const status = await rpc.status();
    expect(status).toMatchObject({ version: 'v2', healthz: 'ok' });
    const sealed = await rpc.encrypt(seed);
    expect(sealed.keyId).toBe(status.keyId);
    expect([...sealed.annotations.keys()]).toEqual([ANNOTATION_NAME]);
    expect(Buffer.from(sealed.ciphertext).includes(Buffer.from(seed))).toBe(false);
    expect(Uint8Array.from(await rpc.decrypt(sealed))).toEqual(seed);
  });

  test('a failure carries its code and its reason', async () => {
    const sealed = await rpc.encrypt(seed);
    const answer = await rpc.call('Decrypt', decryptRequest({ ...sealed, keyId: `${sealed.keyId}x` }));
    expect(answer).toMatchObject({ status: INVALID_ARGUMENT, response: undefined });
    expect(answer.message).toMatch(/does not open/);
  });

  test('bytes that are no message get a code, and the next call an answer', async () => {
    expect((await rpc.call('Encrypt', Uint8Array.of(0xff, 0xff))).status).not.toBe(OK);
    expect((await rpc.status()).healthz).toBe('ok');
  });

  test.each(['localhost', '%2Frun%2Fsealwax%2Fkms.sock'])('the authority may be %s', async (authority) => {
    expect((await rpc.call('Status', new Uint8Array(), { ':authority': authority })).status).toBe(OK);
  });
});

describe('limits', () => {
  /** An Encrypt of exactly `length` bytes: a tag and 3 bytes of length for the seed. */
  const ofLength = (length: number) => EncryptRequest.encode({ plaintext: Buffer.alloc(length - 4), uid: '' }).finish();

  test('a request of 64 KiB is looked at, one byte more is refused unread', async () => {
    const largest = ofLength(MAX_REQUEST_BYTES);
    expect(largest).toHaveLength(MAX_REQUEST_BYTES);
    expect((await rpc.call('Encrypt', largest)).status).toBe(INVALID_ARGUMENT);
    expect((await rpc.call('Encrypt', ofLength(MAX_REQUEST_BYTES + 1))).status).toBe(RESOURCE_EXHAUSTED);
  });

  test('a length that was only announced is refused before a byte of it came', async () => {
    const { stream, answer } = rpc.begin('Encrypt');
    const head = Buffer.alloc(5);
    head.writeUInt32BE(0xffff_ffff, 1);
    stream.write(head);
    expect((await answer).status).toBe(RESOURCE_EXHAUSTED);
  });

  test('a request that is small only as long as it is compressed is refused', async () => {
    const { stream, answer } = rpc.begin('Encrypt', { 'grpc-encoding': 'gzip' });
    stream.end(frame(gzipSync(ofLength(16 * 1024 * 1024)), { compressed: true }));
    expect((await answer).status).toBe(RESOURCE_EXHAUSTED);
  });

  test('the largest annotations that the API server may send are let through', async () => {
    const sealed = await rpc.encrypt(seed);
    const annotations = new Map([[ANNOTATION_NAME, Buffer.alloc(32 * 1024 - ANNOTATION_NAME.length)]]);
    const request = decryptRequest({ ciphertext: Buffer.alloc(1024), keyId: 'k'.repeat(1024), annotations });
    expect((await rpc.call('Decrypt', request)).status).toBe(INVALID_ARGUMENT);
    expect(Uint8Array.from(await rpc.decrypt(sealed))).toEqual(seed);
  });

  test('a connection is told how many calls it may have at the same time, and all of them are answered', async () => {
    const { maxConcurrentStreams } = rpc.session.remoteSettings;
    expect(maxConcurrentStreams).toBe(1000);
    const calls = Array.from({ length: 1000 + 500 }, () => rpc.encrypt(seed));
    expect(
      new Set((await Promise.all(calls)).map(({ ciphertext }) => Buffer.from(ciphertext).toString('hex'))).size,
    ).toBe(1500);
  });

  test('one connection that leaves its calls unfinished takes nothing from another', async () => {
    const greedy = await plugin.connect();
    const open = Array.from({ length: 1000 }, () => greedy.begin('Encrypt'));
    for (const { stream } of open) stream.write(frame(encryptRequest(seed)).subarray(0, 7));
    expect((await rpc.status()).healthz).toBe('ok');
    greedy.close();
    await Promise.allSettled(open.map(({ answer }) => answer));
  });
});

describe('deadlines', () => {
  test('a call that is not complete when its deadline passes is answered DEADLINE_EXCEEDED', async () => {
    const { stream, answer } = rpc.begin('Encrypt', { 'grpc-timeout': '200m' });
    stream.write(frame(encryptRequest(seed)).subarray(0, 9));
    expect((await answer).status).toBe(DEADLINE_EXCEEDED);
  });

  test('a call that is answered within its deadline is none the wiser', async () => {
    expect((await rpc.call('Status', new Uint8Array(), { 'grpc-timeout': '3S' })).status).toBe(OK);
  });
});

describe('what is not served', () => {
  test.each([
    '/v2.KeyManagementService/Rotate',
    '/v1beta1.KeyManagementService/Version',
    '/v1beta1.KeyManagementService/Encrypt',
    '/v1beta1.KeyManagementService/Decrypt',
    '/nothing/at-all',
  ])('%s is UNIMPLEMENTED', async (method) => {
    expect((await rpc.call(method, new Uint8Array())).status).toBe(UNIMPLEMENTED);
  });
});

describe('the log', () => {
  test('has the uid of the API server on the line of each RPC, good ones at debug', async () => {
    const sealed = await rpc.encrypt(seed, 'uid-of-encrypt');
    await rpc.decrypt(sealed, 'uid-of-decrypt');
    for (const [uid, method] of [
      ['uid-of-encrypt', 'Encrypt'],
      ['uid-of-decrypt', 'Decrypt'],
    ] as const) {
      const [line] = await until(() => linesOf(uid).length > 0 && linesOf(uid));
      expect(line).toMatchObject({ level: 'debug', method, uid, code: 'OK' });
    }
  });

  test('has the uid, the code and the reason of a failure, at warn', async () => {
    const sealed = await rpc.encrypt(seed);
    await rpc.call('Decrypt', decryptRequest({ ...sealed, annotations: new Map() }, 'uid-of-failure'));
    const [line] = await until(() => linesOf('uid-of-failure').length > 0 && linesOf('uid-of-failure'));
    expect(line).toMatchObject({ level: 'warn', method: 'Decrypt', code: 'INVALID_ARGUMENT' });
    expect((line!['error'] as { message: string }).message).toContain(ANNOTATION_NAME);
  });

  test('takes of a uid no more than an identifier has, and no second line', async () => {
    const uid = `${'x'.repeat(63)}\n{"level":"fatal"}`;
    await rpc.encrypt(seed, uid);
    const line = await until(() => plugin.log.find((each) => String(each['uid']).startsWith('xxx')));
    expect(line['uid']).toBe(`${'x'.repeat(63)}\n`);
    expect(plugin.log.every((each) => each['level'] !== 'fatal')).toBe(true);
  });

  test('is JSON, line by line, with time and level', () => {
    for (const line of plugin.output.trimEnd().split('\n')) {
      const { time, level } = JSON.parse(line) as Record<string, string>;
      expect(new Date(time!).getTime()).toBeGreaterThan(Date.UTC(2020));
      expect(['debug', 'info', 'warn', 'error']).toContain(level);
    }
  });
});
