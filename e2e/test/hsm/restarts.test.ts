import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { openBackend, type OpenedBackend } from '@sealwax/core/conformance';
import { describe, expect, test } from 'vitest';
import { startSoftHsm } from '../../src/pkcs11/softhsm-harness.js';
import { testDirectory } from '../../src/test-directory.js';
import { waitFor } from '../../src/wait-for.js';

const { signal } = new AbortController();
const restarts = process.env['SEALWAX_E2E_FULL'] === '1' ? 1000 : 20;
/** What a run of this length may add to a process that leaks nothing: heaps grow to their working size. */
const growthMebibytes = 40;

test(
  `${restarts} processes that are killed leave no memory, no file handle and no process behind`,
  { timeout: 1_800_000 },
  async () => {
    const { harness, config } = await startSoftHsm(await testDirectory('restarts'));
    const opened = await openBackend({
      module: harness.module,
      config: { ...config, callTimeoutSeconds: 10 },
    });
    const { backend } = opened;
    const plaintext = randomBytes(32);
    const wrapped = await backend.wrap(plaintext, signal);
    const killAndUnwrap = async () => {
      for (const pid of moduleProcesses(process.pid)) process.kill(pid, 'SIGKILL');
      const unwrapped = await waitFor(() => backend.unwrap(wrapped, signal), { what: 'an unwrap', timeoutMs: 20_000 });
      expect(Buffer.compare(unwrapped, plaintext)).toBe(0);
    };
    for (let warm = 0; warm < 5; warm += 1) await killAndUnwrap();
    const before = { handles: handles(), bytes: process.memoryUsage.rss() };
    const startedAt = performance.now();
    for (let restart = 0; restart < restarts; restart += 1) await killAndUnwrap();
    const grown = {
      handles: handles() - before.handles,
      mebibytes: Math.round((process.memoryUsage.rss() - before.bytes) / 1024 / 1024),
    };
    const milliseconds = Math.round((performance.now() - startedAt) / restarts);
    console.log(`${restarts} restarts, ${milliseconds} ms each: ${JSON.stringify(grown)} more`);
    expect(moduleProcesses(process.pid)).toHaveLength(1);
    expect(grown.handles).toBeLessThanOrEqual(2);
    expect(grown.mebibytes).toBeLessThan(growthMebibytes);
    await opened.end();
    await waitFor(() => moduleProcesses(process.pid).length === 0, {
      what: 'the last process to end',
      timeoutMs: 5_000,
    });
  },
);

test('a session that saw an error is closed: a hundred bad ciphertexts leave no more sessions than the pool has', async () => {
  const directory = await testDirectory('sessions');
  const { harness, config } = await startSoftHsm(directory);
  const { environment } = config as { environment: Record<string, string> };
  const sessions = 2;
  const opened = await openBackend({
    module: harness.module,
    config: { ...config, sessions, environment: { ...environment, SHIM_LOG: `${directory}/calls` } },
  });
  const { kekId, ciphertext } = await opened.backend.wrap(randomBytes(32), signal);
  const bad = {
    kekId,
    ciphertext: Uint8Array.from(ciphertext, (byte, at) => (at === ciphertext.length - 1 ? byte ^ 1 : byte)),
  };
  for (let time = 0; time < 100; time += 1) {
    await expect(opened.backend.unwrap(bad, signal)).rejects.toMatchObject({ code: 'invalid-ciphertext' });
  }
  const calls = readFileSync(`${directory}/calls`, 'utf8').split('\n');
  const count = (name: string) => calls.filter((call) => call === name).length;
  // One process and one initialization, so that nothing else can have closed them.
  expect(count('C_Initialize')).toBe(1);
  expect(count('C_CloseAllSessions')).toBe(0);
  expect(count('C_OpenSession')).toBeGreaterThan(100);
  // One more, which keeps the login.
  expect(count('C_OpenSession') - count('C_CloseSession')).toBeLessThanOrEqual(sessions + 1);
  await opened.end();
});

describe('a process that is still opening the token', () => {
  const startHanging = async (name: string) => {
    const directory = await testDirectory(name);
    const { harness, config, softHsm } = await startSoftHsm(directory);
    const environment = { ...(config as { environment: object }).environment, SHIM_LOG: `${directory}/calls` };
    const patient = { module: harness.module, config: { ...config, environment, openTimeoutSeconds: 300 } };
    const count = (name: string) =>
      readFileSync(`${directory}/calls`, 'utf8')
        .split('\n')
        .filter((call) => call === name).length;
    return { patient, count, shim: softHsm.shim, hang: () => softHsm.shim.misbehave('C_Login hang') };
  };
  const untilItHangs = () =>
    waitFor(() => moduleProcesses(process.pid).some(isInPause), { what: 'the login to hang', timeoutMs: 10_000 });
  const untilNoneIsLeft = () =>
    waitFor(() => moduleProcesses(process.pid).length === 0, { what: 'the process to end', timeoutMs: 5_000 });

  test('ends when opening is given up', async () => {
    const { patient, hang } = await startHanging('given-up');
    await hang();
    const giveUp = new AbortController();
    const opening = openBackend(patient, { signal: giveUp.signal }).catch((error: unknown) => error);
    await untilItHangs();
    giveUp.abort();
    expect(await opening).toMatchObject({ code: 'unavailable' });
    await untilNoneIsLeft();
  });

  test.each([
    ['close', 'closed', (opened: OpenedBackend) => opened.backend.close()],
    ['Host.signal and close', 'ended', (opened: OpenedBackend) => opened.end()],
  ])('ends with %s, and the call that waits for it is told that the backend is closed', async (_, name, end) => {
    const { patient, hang } = await startHanging(name);
    const opened = await openBackend(patient);
    await hang();
    for (const pid of moduleProcesses(process.pid)) process.kill(pid, 'SIGKILL');
    const call = opened.backend.currentKekId(signal).catch((error: unknown) => error);
    await untilItHangs();
    await end(opened);
    const closed = { code: 'internal', message: expect.stringMatching(/: the backend is closed$/) };
    expect(await call).toMatchObject(closed);
    await untilNoneIsLeft();
    await expect(opened.backend.currentKekId(signal)).rejects.toMatchObject(closed);
  });

  test('leaves the PIN to the next when it ends in its login', async () => {
    const { patient, count, shim, hang } = await startHanging('killed');
    await hang();
    const first = openBackend(patient).catch((error: unknown) => error);
    await untilItHangs();
    const [hanging] = moduleProcesses(process.pid);
    const second = openBackend(patient);
    await waitFor(() => count('C_OpenSession') === 2, { what: 'the other one to ask', timeoutMs: 20_000 });
    await shim.behave();
    process.kill(hanging!, 'SIGKILL');
    const opened = await second;
    expect(await first).toMatchObject({ code: 'unavailable' });
    expect(count('C_Login')).toBe(2);
    await opened.end();
  });
});

test('the process dies with the plugin, also when it hangs in the module and the plugin is killed', async () => {
  const { harness, config, softHsm } = await startSoftHsm(await testDirectory('orphan'));
  const script = `
    import { backend } from ${JSON.stringify(harness.moduleUrl)};
    import { lendHost } from ${JSON.stringify(import.meta.resolve('@sealwax/core/conformance'))};
    const host = lendHost('hsm', () => undefined, new AbortController().signal);
    const checked = await backend.config['~standard'].validate(JSON.parse(process.argv[1]));
    const opened = await backend.open(checked.value, host);
    process.stdout.write('open\\n');
    process.stdin.once('data', () => void opened.currentKekId(new AbortController().signal));
    setInterval(() => undefined, 1000);`;
  const patient = { ...config, callTimeoutSeconds: 300 };
  const plugin = spawn(process.execPath, ['--input-type=module', '-e', script, JSON.stringify(patient)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(plugin.stdout, 'data');
  const [child] = moduleProcesses(plugin.pid!);
  expect(child).toBeDefined();
  await softHsm.shim.misbehave('C_FindObjectsInit hang');
  plugin.stdin.write('go\n');
  await waitFor(() => isInPause(child!), { what: 'the call to hang', timeoutMs: 10_000 });
  plugin.kill('SIGKILL');
  await waitFor(() => !isAlive(child!), { what: 'the process to end', timeoutMs: 5_000 });
});

/** Processes with the module in them that `parent` has started. */
function moduleProcesses(parent: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const [, , ppid] = readFileSync(`/proc/${pid}/stat`, 'utf8')
          .replace(/^.*\) /, 'x ')
          .split(' ');
        return Number(ppid) === parent && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('child/main.js');
      } catch {
        return false;
      }
    });
}

/** Whether the main thread sleeps in a system call that is not the event loop's. */
function isInPause(pid: number): boolean {
  return (
    readFileSync(`/proc/${pid}/wchan`, 'utf8').includes('pause') ||
    readFileSync(`/proc/${pid}/syscall`, 'utf8').startsWith('34 ')
  );
}

function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

function handles(): number {
  return readdirSync('/proc/self/fd').length;
}
