import { existsSync } from 'node:fs';
import { lstat, readFile, readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { once } from 'node:events';
import path from 'node:path';
import { pino } from 'pino';
import { describe, expect, onTestFinished, test } from 'vitest';
import { loadConfig } from '../src/config/load.js';
import { serve } from '../src/serve.js';
import { makeKeyFile, writeConfig } from './config-file.js';
import { startPlugin, startWith, type Plugin } from './plugin.js';
import { samplesOf, sumOf } from './prometheus-text.js';
import { decryptRequest, frame, RpcConnection } from './rpc.js';
import { EncryptRequest } from '../src/gen/kms/v2/kms.js';
import { Gate, serveStalled } from './stalled-plugin.js';
import { temporaryDirectory } from './temporary-directory.js';
import { until } from './until.js';

const OK = 0;
const DEADLINE_EXCEEDED = 4;
const UNAVAILABLE = 14;
const seed = new Uint8Array(32).map((_, index) => index);

async function connected(plugin: Plugin): Promise<RpcConnection> {
  const rpc = await plugin.connect();
  onTestFinished(() => {
    rpc.close();
  });
  return rpc;
}

/** An Encrypt of which the server has the first bytes; `finish` sends the others. */
async function halfSentEncrypt(rpc: RpcConnection) {
  const message = frame(EncryptRequest.encode({ plaintext: Buffer.from(seed), uid: 'half' }).finish());
  const { stream, answer } = rpc.begin('Encrypt');
  stream.write(message.subarray(0, 9));
  // An answer on the same connection: what was sent before it has arrived.
  await rpc.status();
  return { answer, finish: () => stream.end(message.subarray(9)) };
}

describe.each(['SIGTERM', 'SIGINT'] as const)('%s', (signal) => {
  test('lets what is in flight finish, takes nothing new, removes the socket and exits with 0', async () => {
    const plugin = await startPlugin();
    const rpc = await connected(plugin);
    const { answer, finish } = await halfSentEncrypt(rpc);
    plugin.kill(signal);
    await until(() => !existsSync(plugin.config.socketPath));
    await expect(RpcConnection.open(plugin.config.socketPath)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(plugin.isRunning).toBe(true);
    finish();
    expect((await answer).status).toBe(OK);
    expect(await plugin.ended).toEqual({ code: 0, signal: null });
    expect(await readdir(path.dirname(plugin.config.socketPath))).toEqual([]);
  });
});

describe('stopping', () => {
  test('does not wait for connections that ask for nothing', async () => {
    const plugin = await startPlugin();
    const idle = await Promise.all([connected(plugin), connected(plugin)]);
    await idle[0].status();
    const startedAtMs = Date.now();
    expect((await plugin.stop()).code).toBe(0);
    expect(Date.now() - startedAtMs).toBeLessThan(5_000);
  });

  test('waits for a call that never ends only for a while', async () => {
    const plugin = await startPlugin();
    await halfSentEncrypt(await connected(plugin));
    expect(await plugin.stop()).toEqual({ code: 0, signal: null });
  });

  test('is cut short by a second signal', async () => {
    const plugin = await startPlugin();
    await halfSentEncrypt(await connected(plugin));
    plugin.kill('SIGTERM');
    await until(() => !existsSync(plugin.config.socketPath));
    plugin.kill('SIGTERM');
    // 0 is the end that the first signal would have come to.
    expect(await plugin.ended).toEqual({ code: 1, signal: null });
  });

  test('leaves a socket that has taken the place of its own', async () => {
    const plugin = await startPlugin();
    await rm(plugin.config.socketPath);
    const other = createServer().listen(plugin.config.socketPath);
    await once(other, 'listening');
    onTestFinished(() => void other.close());
    expect((await plugin.stop()).code).toBe(0);
    expect((await lstat(plugin.config.socketPath)).isSocket()).toBe(true);
  });

  test('works while the KMS was never reached', async () => {
    const plugin = startWith(await writeConfig(await temporaryDirectory()));
    await connected(plugin);
    expect(await plugin.stop()).toEqual({ code: 0, signal: null });
  });
});

describe('starting', () => {
  test('over the socket of a process that was killed works', async () => {
    const plugin = await startPlugin();
    plugin.kill('SIGKILL');
    await plugin.ended;
    expect(existsSync(plugin.config.socketPath)).toBe(true);
    const next = startWith(plugin.config);
    await next.untilReady();
    expect((await (await connected(next)).status()).healthz).toBe('ok');
  });

  test('over the socket of a living process fails, and leaves that one serving', async () => {
    const plugin = await startPlugin();
    const second = startWith(plugin.config);
    expect((await second.ended).code).toBe(1);
    expect(second.output).toContain(`${plugin.config.socketPath} is served by another process`);
    const rpc = await connected(plugin);
    expect((await rpc.status()).healthz).toBe('ok');
  });

  test('without a KMS opens the socket, says why Encrypt fails, and heals by itself', async () => {
    const config = await writeConfig(await temporaryDirectory());
    const plugin = startWith(config);
    const rpc = await connected(plugin);
    const { healthz, keyId } = await until(async () => {
      const status = await rpc.status();
      return status.healthz.includes(config.keyFile) && status;
    });
    expect(healthz).toContain('key "prod"');
    expect(keyId).toBe('');
    const request = EncryptRequest.encode({ plaintext: Buffer.from(seed), uid: '' }).finish();
    const answer = await rpc.call('Encrypt', request);
    expect(answer.status).toBe(UNAVAILABLE);
    expect(answer.message).toContain(config.keyFile);
    await makeKeyFile(config);
    await until(async () => (await rpc.status()).healthz === 'ok');
    expect((await rpc.call('Encrypt', request)).status).toBe(OK);
  });

  test('gives the socket the mode of the config', async () => {
    const plugin = await startPlugin({ sections: { socket: { mode: '0640' } } });
    expect((await lstat(plugin.config.socketPath)).mode & 0o777).toBe(0o640);
  });

  test('is said in the log with version and cluster', async () => {
    const plugin = await startPlugin();
    expect(plugin.log.find(({ msg }) => msg === 'listening')).toMatchObject({
      level: 'info',
      cluster: 'test-1',
      socket: plugin.config.socketPath,
      version: expect.stringMatching(/^\d/),
    });
  });

  test('that fails at its end closes what it had opened', async () => {
    const config = await writeConfig(await temporaryDirectory());
    await makeKeyFile(config);
    const log = pino(
      {},
      {
        write(line: string) {
          if (line.includes('"msg":"listening"')) throw new Error('no space left on device');
        },
      },
    );
    await expect(serve(await loadConfig(config.file), config.file, log)).rejects.toThrow('no space left');
    expect(await readdir(path.dirname(config.socketPath))).toEqual([]);
  });

  test.runIf(process.platform === 'linux')(
    'puts nothing but the path of the config into arguments and environment',
    async () => {
      const plugin = await startPlugin();
      const read = async (name: string) => (await readFile(`/proc/${plugin.pid}/${name}`, 'utf8')).split('\0');
      expect((await read('cmdline')).slice(-4, -1)).toEqual(['serve', '--config', plugin.config.file]);
      for (const each of await read('environ')) expect(each).toMatch(/^((PATH|HOME|PWD|OLDPWD|SHLVL|_)=|$)/);
    },
  );
});

describe('a KMS that stalls', () => {
  /** A plugin in this process whose unwraps wait, and something that only an unwrap can open. */
  async function stalled() {
    const config = await writeConfig(await temporaryDirectory(), { probe: { intervalSeconds: 3600 } });
    await makeKeyFile(config);
    const elsewhere = startWith(config);
    await elsewhere.untilReady();
    const sealed = await (await connected(elsewhere)).encrypt(seed);
    await elsewhere.stop();

    const gate = new Gate();
    const running = await serveStalled(config, gate);
    const rpc = await RpcConnection.open(config.socketPath);
    onTestFinished(() => {
      rpc.close();
    });
    await until(async () => (await rpc.status()).healthz === 'ok');
    gate.shut();
    gate.arrived = 0;
    const waiting = async () => {
      const page = await (await fetch(`http://${config.httpAddress}/metrics`)).text();
      return sumOf(samplesOf(page), 'sealwax_decrypts_waiting');
    };
    return { running, gate, rpc, sealed, waiting };
  }

  test('lets a Decrypt wait no longer than its deadline, and holds up nothing else', async () => {
    const { gate, rpc, sealed, waiting } = await stalled();
    const decrypt = rpc.call('Decrypt', decryptRequest(sealed), { 'grpc-timeout': '800m' });
    await until(() => gate.arrived === 1);
    expect(await waiting()).toBe(1);
    expect((await rpc.status()).healthz).toBe('ok');
    await rpc.decrypt(await rpc.encrypt(seed));
    expect((await decrypt).status).toBe(DEADLINE_EXCEEDED);
    await until(async () => (await waiting()) === 0);
  });

  test('lets a Decrypt wait no longer than its caller', async () => {
    const { gate, rpc, sealed, waiting } = await stalled();
    const { stream } = rpc.begin('Decrypt');
    stream.end(frame(decryptRequest(sealed)));
    await until(() => gate.arrived === 1);
    stream.close(8);
    await until(async () => (await waiting()) === 0);
  });

  test('gives its answer to all who wait, from one unwrap', async () => {
    const { gate, rpc, sealed, waiting } = await stalled();
    const decrypts = Array.from({ length: 20 }, () => rpc.decrypt(sealed));
    await until(async () => (await waiting()) === 20);
    gate.open();
    for (const opened of await Promise.all(decrypts)) expect(Uint8Array.from(opened)).toEqual(seed);
    expect(gate.arrived).toBe(1);
  });

  test('is waited for when the plugin stops', async () => {
    const { running, gate, rpc, sealed } = await stalled();
    const decrypt = rpc.decrypt(sealed);
    await until(() => gate.arrived === 1);
    const closed = running.close();
    gate.open();
    expect(Uint8Array.from(await decrypt)).toEqual(seed);
    await closed;
  });
});
