import { createDecipheriv } from 'node:crypto';
import { readFile, rename, truncate } from 'node:fs/promises';
import path from 'node:path';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import { ANNOTATION_NAME } from '@sealwax/core';
import { describe, expect, onTestFinished, test } from 'vitest';
import { describeError } from '../src/log.js';
import { SEALWAX, sealwax } from './command-line.js';
import { startPlugin, type Plugin } from './plugin.js';
import { decryptRequest } from './rpc.js';
import { temporaryDirectory } from './temporary-directory.js';
import { until } from './until.js';

/** The local key of an envelope, by hand: what the key file's key unwraps to. */
async function localKeyOf(annotation: Uint8Array, kek: Buffer): Promise<Buffer> {
  const fields = (bytes: Uint8Array) => {
    const reader = new BinaryReader(bytes);
    const found = new Map<number, Uint8Array>();
    while (reader.pos < reader.len) found.set(reader.tag()[0], reader.bytes());
    return found;
  };
  const record = fields(fields(annotation).get(3)!);
  const wrapped = record.get(3)!;
  const decipher = createDecipheriv('aes-256-gcm', kek, wrapped.subarray(0, 12));
  decipher.setAAD(record.get(2)!);
  decipher.setAuthTag(wrapped.subarray(-16));
  return Buffer.concat([decipher.update(wrapped.subarray(12, -16)), decipher.final()]);
}

/** Whether `text` shows these bytes: as text, in hexadecimal, in base64 at any offset, as JSON numbers. */
function shows(text: string, secret: Uint8Array): boolean {
  const bytes = Buffer.from(secret);
  const spellings = [
    bytes.toString('latin1'),
    bytes.toString('hex'),
    bytes.toString('hex').toUpperCase(),
    bytes.subarray(0, 8).join(','),
    ...[0, 1, 2].map((offset) => bytes.subarray(offset, offset + 24).toString('base64')),
    ...[0, 1, 2].map((offset) => bytes.subarray(offset, offset + 24).toString('base64url')),
  ];
  return spellings.some((spelling) => text.includes(spelling));
}

async function kekOf(plugin: Plugin): Promise<Buffer> {
  const [key] = /[A-Za-z0-9+/]{43}=/.exec(await readFile(plugin.config.keyFile, 'utf8')) ?? [];
  return Buffer.from(key!, 'base64');
}

describe('an error in the log', () => {
  test('has its causes, with their codes', () => {
    const cause = Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' });
    const error = new Error('vault: wrap with transit/kms: connection lost', { cause });
    expect(describeError(error)).toMatchObject({
      type: 'Error',
      message: 'vault: wrap with transit/kms: connection lost',
      stack: expect.stringContaining('log.test.ts'),
      cause: { message: 'socket hang up', code: 'ECONNRESET' },
    });
  });

  test("has nothing of a request that a provider's client hung on it", () => {
    const token = 'hvs.a-token-of-vault';
    const cause = Object.assign(new Error('Request failed with status code 403'), {
      config: { headers: { 'x-vault-token': token }, data: token },
      request: { _header: token },
      response: { data: token },
      code: { token },
    });
    expect(JSON.stringify(describeError(new Error('vault: unwrap: permission denied', { cause })))).not.toContain(
      token,
    );
  });

  test('may be anything that was thrown, and a circle of causes', () => {
    expect(describeError('text')).toBe('text');
    expect(describeError(undefined)).toBe('undefined');
    const circle = new Error('again');
    circle.cause = circle;
    expect(JSON.stringify(describeError(circle)).match(/"message"/g)!.length).toBeLessThan(20);
  });
});

// What the levels between write is a part of what debug writes.
test.each(['debug', 'error'])(
  'at level %s no line shows a seed, a local key or a key of the key file, whatever went wrong',
  async (level) => {
    const plugin = await startPlugin({ sections: { log: { level } } });
    const rpc = await plugin.connect();
    onTestFinished(() => {
      rpc.close();
    });
    const seed = Buffer.from('a seed that nobody may ever see!');
    const kek = await kekOf(plugin);
    const sealed = await rpc.encrypt(seed, 'uid-good');
    await rpc.decrypt(sealed, 'uid-good');
    const localKey = await localKeyOf(sealed.annotations.get(ANNOTATION_NAME)!, kek);
    expect(localKey).toHaveLength(32);

    // Failures of every kind: of the envelope, of the request, of a known and of an unknown local key, of the KMS.
    await rpc.call('Decrypt', decryptRequest({ ...sealed, ciphertext: Buffer.concat([sealed.ciphertext, seed]) }));
    await rpc.call('Decrypt', decryptRequest({ ...sealed, keyId: seed.toString() }, 'uid-bad'));
    await rpc.call('Encrypt', Buffer.concat([Buffer.from([0x0a, 0xff]), seed]));
    await rpc.call('Encrypt', Buffer.alloc(2000, seed));
    expect((await sealwax(['local', 'rotate', plugin.config.keyFile])).code).toBe(0);
    await until(async () => (await rpc.status()).keyId !== sealed.keyId);
    await rename(plugin.config.keyFile, `${plugin.config.keyFile}.away`);
    await until(async () => (await (await plugin.http('/readyz?verbose')).text()).includes('failing'));
    await rpc.decrypt(sealed);
    await plugin.stop();

    const output = plugin.output;
    const levels = ['debug', 'info', 'warn', 'error'];
    expect(plugin.log.every((line) => levels.indexOf(String(line['level'])) >= levels.indexOf(level))).toBe(true);
    // The search finds what is there.
    if (level === 'debug') expect(output).toContain('uid-good');
    if (level !== 'error') expect(output).toContain('uid-bad');
    expect(shows(`…${seed.subarray(0, 30).toString('base64')}…`, seed)).toBe(true);
    expect(shows(output, seed)).toBe(false);
    expect(shows(output, localKey)).toBe(false);
    expect(shows(output, kek)).toBe(false);
  },
);

describe('a line that cannot be written', () => {
  /** With a shell's redirection of its log. */
  async function startLoggingTo(redirection: string) {
    const plugin = await startPlugin({
      sections: { log: { level: 'debug' } },
      command: ['/bin/sh', '-c', `${redirection}; exec "$0" "$@"`, SEALWAX],
    });
    const rpc = await plugin.connect();
    onTestFinished(() => {
      rpc.close();
    });
    return { plugin, rpc };
  }

  test.runIf(process.platform === 'linux')('stops nothing: the plugin serves and ends in order', async () => {
    const { plugin, rpc } = await startLoggingTo('exec 2>/dev/full');
    const seed = Buffer.alloc(32, 7);
    expect(await rpc.decrypt(await rpc.encrypt(seed))).toEqual(seed);
    plugin.kill('SIGUSR1');
    plugin.kill('SIGHUP');
    expect((await rpc.status()).healthz).toBe('ok');
    expect(await plugin.stop()).toEqual({ code: 0, signal: null });
  });

  test('is followed by others once there is space again, however many there were', async () => {
    const file = path.join(await temporaryDirectory(), 'log');
    // The limit of a file's size stands for a disk that is full.
    const { plugin, rpc } = await startLoggingTo(`ulimit -f 16; exec 2>>'${file}'`);
    // More than the plugin keeps.
    for (let sent = 0; sent < 1_000; sent += 1) await rpc.status();
    const lines = await until(async () => {
      const text = await readFile(file, 'utf8');
      if (text.includes('SIGUSR1 ignored')) return text.trimEnd().split('\n');
      await truncate(file);
      plugin.kill('SIGUSR1');
      return undefined;
    });
    // Whole, but for those that the file's beginning and end cut through.
    for (const line of lines.slice(1, -1)) expect(JSON.parse(line)).toHaveProperty('msg');
  });
});
