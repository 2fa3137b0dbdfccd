import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { open, url } from 'node:inspector';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { atEndOfFile } from './end-of-file.js';
import { closeDebugDoors } from '../src/process-guard.js';
import { cleanEnvironment, sealwax } from './command-line.js';
import { makeKeyFile, writeConfig, type ConfigFile } from './config-file.js';
import { startPlugin, startWith } from './plugin.js';
import { temporaryDirectory } from './temporary-directory.js';
import { until } from './until.js';

const MAIN = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
const isLinux = process.platform === 'linux';

describe('an environment in which Node gives secrets away', () => {
  let config: ConfigFile;
  beforeAll(async () => {
    config = await writeConfig(await temporaryDirectory(atEndOfFile));
    await makeKeyFile(config);
  });

  test.each([
    ['NODE_TLS_REJECT_UNAUTHORIZED', '0'],
    ['NODE_DEBUG', 'http,https'],
    ['NODE_DEBUG', 'net'],
    ['NODE_OPTIONS', '--inspect=127.0.0.1:0'],
  ])('%s=%s is refused by serve and by check, with the name and a remedy', async (name, value) => {
    for (const command of ['serve', 'check']) {
      const { code, err } = await sealwax([command, '--config', config.file], { [name]: value });
      expect(code).toBe(1);
      expect(err).toMatch(
        name === 'NODE_OPTIONS' ? /inspector is open.*without --inspect/ : new RegExp(`sealwax: ${name}.*unset it`),
      );
    }
  });

  test('NODE_TLS_REJECT_UNAUTHORIZED=1, the default, is none', async () => {
    const { code } = await sealwax(['check', '--config', config.file], { NODE_TLS_REJECT_UNAUTHORIZED: '1' });
    expect(code).toBe(0);
  });
});

describe('SIGUSR1', () => {
  test('opens no inspector: it is logged, and the plugin goes on', async () => {
    const plugin = await startPlugin();
    plugin.kill('SIGUSR1');
    const line = await until(() => plugin.log.find(({ msg }) => String(msg).startsWith('SIGUSR1')));
    expect(line).toMatchObject({ level: 'warn' });
    plugin.kill('SIGUSR1');
    await until(() => plugin.log.filter(({ msg }) => String(msg).startsWith('SIGUSR1')).length === 2);
    expect(plugin.output).not.toContain('Debugger listening');
    expect((await plugin.http('/readyz')).status).toBe(200);
    expect((await plugin.stop()).code).toBe(0);
  });

  const run = async (...args: readonly string[]) =>
    new Promise<{ code: number; out: string }>((resolve) => {
      execFile(process.execPath, args, { env: cleanEnvironment() }, (error, out, err) => {
        resolve({ code: Number(error?.code ?? 0), out: out + err });
      });
    });

  test('that came before our code ran is noticed, and serving refused', async () => {
    const config = await writeConfig(await temporaryDirectory());
    const early = `import { url } from 'node:inspector';
      process.kill(process.pid, 'SIGUSR1');
      while (url() === undefined) await new Promise((resolve) => setTimeout(resolve, 5));`;
    const preload = `data:text/javascript,${encodeURIComponent(early)}`;
    const { code, out } = await run(
      '--inspect-port=127.0.0.1:0',
      '--import',
      preload,
      MAIN,
      'serve',
      '--config',
      config.file,
    );
    expect(out).toContain('Debugger listening');
    expect(out).toContain('the inspector is open');
    expect(code).toBe(1);
  });

  test('that came just before its handler leaves no inspector behind', () => {
    onTestFinished(() => {
      process.removeAllListeners('SIGUSR1');
    });
    open(0, '127.0.0.1');
    expect(url()).toBeDefined();
    closeDebugDoors(pino({ level: 'silent' }));
    expect(url()).toBeUndefined();
  });
});

describe.runIf(isLinux)('core dumps', () => {
  test('are forbidden by bin/sealwax', async () => {
    const plugin = await startPlugin();
    expect(await readFile(`/proc/${plugin.pid}/limits`, 'utf8')).toMatch(/^Max core file size +0 +0 /m);
    expect(plugin.output).not.toContain('core size');
  });

  test('leave memory out, with a warning, when it was started another way', async () => {
    const config = await writeConfig(await temporaryDirectory());
    await makeKeyFile(config);
    const script = `ulimit -c unlimited 2>/dev/null || ulimit -c hard; exec "$0" "$@"`;
    const plugin = startWith(config, { command: ['/bin/sh', '-c', script, process.execPath, MAIN] });
    await plugin.untilReady();
    const limits = await readFile(`/proc/${plugin.pid}/limits`, 'utf8');
    if (/^Max core file size +0 /m.test(limits)) return;
    expect(await readFile(`/proc/${plugin.pid}/coredump_filter`, 'utf8')).toMatch(/^0+$/m);
    expect(plugin.log.find(({ msg }) => String(msg).includes('core size'))).toMatchObject({ level: 'warn' });
  });
});
