import { afterAll, beforeAll, expect, test } from 'vitest';
import { ControlPlaneNode } from '../../src/control-plane-node.js';
import { compressed } from '../../src/faults/at-the-socket.js';
import { startHttpKey } from '../../src/http-kms/http-key.js';
import { inflict, keySection, type KeyUnderTest } from '../../src/key-under-test.js';
import { serviceDirectories } from '../../src/service-directory.js';
import { storageKey, storedObjects } from '../../src/stored-objects.js';
import { waitFor } from '../../src/wait-for.js';

const patience = { timeoutMs: 120_000, intervalMs: 500 };
const seldom = { ...compressed.probe, intervalSeconds: 3_600 };

let key: KeyUnderTest;
let first: ControlPlaneNode;
let second: ControlPlaneNode;
let written = 0;
beforeAll(async () => {
  const { kms } = await serviceDirectories('nodes', ['kms']);
  key = await startHttpKey(kms);
  const keys = [keySection(key, { name: 'prod' })];
  first = await ControlPlaneNode.start('node-1', {
    sections: (plugin) => ({ ...compressed, state: { path: plugin.stateDirectory }, keys }),
  });
  second = await ControlPlaneNode.start('node-2', {
    etcd: first.cluster.etcd,
    // Looks at its KMS so seldom that the other node is always ahead of it.
    sections: (plugin) => ({ ...compressed, probe: seldom, state: { path: plugin.stateDirectory }, keys }),
  });
});
afterAll(async () => {
  await second.stop();
  await first.stop();
  await key.stop();
});

test('two nodes report one key id, and each reads what the other wrote', async () => {
  expect((await first.plugin.client.status()).keyId).toBe((await second.plugin.client.status()).keyId);
  await writeOnBoth();
  await expectBothReadAll();
});

test('a rotation that one node has seen and the other has not: both read and write everything', async () => {
  const before = (await second.plugin.client.status()).keyId;
  await inflict(key, 'rotate');
  await untilStoredBy(first, (keyId) => keyId !== before);
  expect((await second.plugin.client.status()).keyId).toBe(before);
  await writeOnBoth();
  await expectBothReadAll();
});

test('the node that is behind is restarted: both report one key id again', async () => {
  await second.cluster.stopApiServer();
  await second.plugin.stop();
  await writeOn(first);
  await second.plugin.start();
  await second.plugin.untilOk();
  await second.cluster.startApiServer();
  const { keyId } = await first.plugin.client.status();
  await untilStoredBy(second, (stored) => stored === keyId);
  await writeOnBoth();
  await expectBothReadAll();
});

test('a key’s name mistyped on one node: check says so; the other cannot open what it writes until the config is mended, and then opens it all', async () => {
  const mistyped = [keySection(key, { name: 'prdo' }), keySection(key, { name: 'prod', role: 'read' })];
  const { keyId: before } = await second.plugin.client.status();
  await second.plugin.writeConfig({ keys: mistyped });
  const check = await second.plugin.check(['--against', first.plugin.configPath]);
  expect(check.code).not.toBe(0);
  expect(check.output).toMatch(/differs from .*: key prdo: only here/);
  expect(check.output).toMatch(/differs from .*: key prod: role: read here, write there/);

  second.plugin.hangUp();
  await untilStoredBy(second, (keyId) => keyId !== before && keyId.startsWith('prdo:'));
  const foreign = `secret-${written}`;
  await expect(first.cluster.client.get('secrets', foreign)).rejects.toThrow('prdo');
  expect((await second.cluster.client.get('secrets', foreign)).data['value']).toBe(`value of ${foreign}`);

  await first.plugin.writeConfig({
    keys: [keySection(key, { name: 'prod' }), keySection(key, { name: 'prdo', role: 'read' })],
  });
  first.plugin.hangUp();
  await second.plugin.writeConfig({
    keys: [keySection(key, { name: 'prod' }), keySection(key, { name: 'prdo', role: 'read' })],
  });
  second.plugin.hangUp();
  await untilStoredBy(second, (keyId) => keyId === before);
  await waitFor(async () => (await first.readAll()).has(foreign), { what: 'the first node to open it', ...patience });
  await writeOnBoth();
  await expectBothReadAll();
  expect((await second.plugin.check(['--against', first.plugin.configPath])).output).toContain('agrees');
});

async function writeOn(node: ControlPlaneNode): Promise<string> {
  written += 1;
  const name = `secret-${written}`;
  await node.write(name);
  return name;
}

async function writeOnBoth(): Promise<void> {
  await writeOn(first);
  await writeOn(second);
}

async function expectBothReadAll(): Promise<void> {
  for (const node of [first, second]) {
    const found = await waitFor(
      async () => {
        const all = await node.readAll();
        return all.size >= written && all;
      },
      { what: 'every Secret to be seen', ...patience },
    );
    for (let index = 1; index <= written; index += 1)
      expect(found.get(`secret-${index}`)).toBe(`value of secret-${index}`);
  }
}

/** Writes on `node` until etcd holds what it wrote under such a key id. */
async function untilStoredBy(node: ControlPlaneNode, isWanted: (keyId: string) => boolean): Promise<void> {
  await waitFor(
    async () => {
      await node.cluster.client.probe('/readyz');
      const name = await writeOn(node);
      return isWanted((await storedObjects(node.cluster.etcd)).get(storageKey('secrets', name))?.keyId ?? '');
    },
    { what: 'a Secret under the wanted key id', ...patience },
  );
}
