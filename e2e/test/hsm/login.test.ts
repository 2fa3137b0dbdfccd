import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { openBackend, type OpenedBackend } from '@sealwax/core/conformance';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { inflict } from '../../src/key-under-test.js';
import { startSoftHsm } from '../../src/pkcs11/softhsm-harness.js';
import { startTpm } from '../../src/pkcs11/tpm-harness.js';
import { testDirectory } from '../../src/test-directory.js';
import { waitFor } from '../../src/wait-for.js';

const { signal } = new AbortController();
const recovery = { what: 'the same instance to work again', timeoutMs: 20_000 };

describe('SoftHSM', () => {
  let service: Awaited<ReturnType<typeof startSoftHsm>>;
  let logPath: string;
  const opened: OpenedBackend[] = [];
  beforeAll(async () => {
    const directory = await testDirectory('login');
    service = await startSoftHsm(directory);
    logPath = `${directory}/calls`;
  });
  afterEach(async () => {
    await service.softHsm.shim.behave();
    for (const one of opened.splice(0)) await one.end();
  });
  afterAll(() => service.stop());

  const open = async () => {
    const { environment } = service.config as { environment: Record<string, string> };
    const config = { ...service.config, environment: { ...environment, SHIM_LOG: logPath } };
    const one = await openBackend({ module: service.harness.module, config });
    opened.push(one);
    return one.backend;
  };
  const logins = async () => (await readFile(logPath, 'utf8')).split('\n').filter((name) => name === 'C_Login').length;

  test('a wrong PIN is tried once, by whichever instance, and again only when the file holds another one', async () => {
    await open();
    await service.softHsm.writePin('wrong-pin');
    const before = await logins();
    for (let time = 0; time < 4; time += 1) {
      await expect(open()).rejects.toMatchObject({ code: 'unauthenticated' });
    }
    expect((await logins()) - before).toBe(1);
    await service.softHsm.writePin('other-wrong-pin');
    for (let time = 0; time < 2; time += 1) {
      await expect(open()).rejects.toMatchObject({ code: 'unauthenticated' });
    }
    expect((await logins()) - before).toBe(2);
    await service.softHsm.writePin();
    await open();
  });

  test('a wrong PIN is tried once by all who log in at the same time', async () => {
    await open();
    await service.softHsm.writePin('wrong-pin-for-all');
    // As hardware does, so that the others ask while the first one's try is out.
    await service.softHsm.shim.misbehave('C_Login delay 3000');
    const before = await logins();
    for (const { status } of await Promise.allSettled([open(), open(), open()])) expect(status).toBe('rejected');
    expect((await logins()) - before).toBe(1);
    await service.softHsm.shim.behave();
    await service.softHsm.writePin();
    await open();
  });

  test('a locked and an expired PIN are told apart from a wrong one, and work again by themselves', async () => {
    for (const [value, word] of [
      ['0xa4', 'locked'],
      ['0xa3', 'expired'],
    ] as const) {
      await service.softHsm.shim.misbehave(`C_Login error ${value}`);
      await expect(open()).rejects.toMatchObject({ code: 'unauthenticated', message: expect.stringContaining(word) });
      await service.softHsm.shim.behave();
      await open();
    }
  });

  test('a PIN that is changed in token and file goes unnoticed, and holds for the next process', async () => {
    const backend = await open();
    const plaintext = randomBytes(32);
    const wrapped = await backend.wrap(plaintext, signal);
    await service.softHsm.changePin('another-pin');
    await service.softHsm.writePin();
    expect(Buffer.compare(await backend.unwrap(wrapped, signal), plaintext)).toBe(0);
    await service.softHsm.shim.misbehave('C_DecryptInit abort');
    await backend.unwrap(wrapped, signal).catch(() => undefined);
    await service.softHsm.shim.behave();
    await waitFor(() => backend.unwrap(wrapped, signal), recovery);
  });

  test('a token that is lost and restored from a backup works again, with what was wrapped before', async () => {
    const backend = await open();
    const plaintext = randomBytes(32);
    const wrapped = await backend.wrap(plaintext, signal);
    const backup = await service.softHsm.backUp();
    await service.softHsm.lose();
    await expect(backend.currentKekId(signal)).rejects.toMatchObject({ name: 'BackendError' });
    await service.softHsm.restore(backup);
    const again = await waitFor(() => backend.unwrap(wrapped, signal), recovery);
    expect(Buffer.compare(again, plaintext)).toBe(0);
  });

  test('a key that is destroyed is not found, and restored from a backup it has the same KEK id and opens', async () => {
    const backend = await open();
    const plaintext = randomBytes(32);
    const kekId = await backend.currentKekId(signal);
    const wrapped = await backend.wrap(plaintext, signal);
    const backup = await service.softHsm.backUp();
    await inflict(service, 'deleteKey');
    const notFound = { code: 'key-not-found' };
    await expect(backend.currentKekId(signal)).rejects.toMatchObject(notFound);
    await expect(backend.wrap(plaintext, signal)).rejects.toMatchObject(notFound);
    await expect(backend.unwrap(wrapped, signal)).rejects.toMatchObject(notFound);
    await expect(open()).rejects.toMatchObject(notFound);
    await service.softHsm.restore(backup);
    const again = await waitFor(() => backend.unwrap(wrapped, signal), recovery);
    expect(Buffer.compare(again, plaintext)).toBe(0);
    expect(await backend.currentKekId(signal)).toBe(kekId);
  });
});

describe('a TPM', () => {
  let service: Awaited<ReturnType<typeof startTpm>>;
  beforeAll(async () => {
    service = await startTpm(await testDirectory('tpm-login'), 'rsa-oaep');
  });
  afterAll(() => service.stop());

  test('opened again and again with a wrong PIN, it does not lock', async () => {
    await service.tpm.writePin('wrong-pin');
    for (let time = 0; time < 6; time += 1) {
      await expect(openBackend(service.harness)).rejects.toMatchObject({ code: 'unauthenticated' });
    }
    await service.tpm.writePin();
    const opened = await openBackend(service.harness);
    await opened.backend.currentKekId(signal);
    await opened.end();
  });

  test('locked by others, it is unauthenticated until the lock-out ends, and the PIN is not held to be wrong', async () => {
    await service.tpm.lockOut();
    await expect(openBackend(service.harness)).rejects.toMatchObject({ name: 'BackendError' });
    await service.tpm.endLockout();
    const opened = await openBackend(service.harness);
    await opened.backend.currentKekId(signal);
    await opened.end();
  });
});
