import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { LocalKey } from '../src/local-key.js';
import { Rescue } from '../src/rescue.js';
import { CLUSTER } from './open-ring.js';
import { temporaryDirectory } from './temporary-directory.js';

const record = (keyName: string, kekId: string) => ({ keyName, kekId, ciphertext: new Uint8Array(60).fill(7) });
const open = (directory: string) => Rescue.open({ directory, cluster: CLUSTER, alarm: expect.unreachable });
const kekIds = (rescue: Rescue, commitment: Uint8Array) => rescue.recordsOf(commitment).map(({ kekId }) => kekId);

test('what is added at the same time is all on disk, whichever write ends last', async () => {
  const directory = await temporaryDirectory();
  const rescue = await open(directory);
  const commitments = Array.from({ length: 40 }, () => LocalKey.generate().commitment);
  await Promise.all([
    ...commitments.map((commitment) => rescue.add([{ commitment, records: [record('a', 'a/2')] }])),
    rescue.countReplacement(1),
  ]);
  const reopened = await open(directory);
  expect(reopened.size).toBe(40);
  expect(reopened.replacements(1)).toBe(1);
});

test('what a promise said is on disk is there when it resolves', async () => {
  const directory = await temporaryDirectory();
  const rescue = await open(directory);
  const { commitment } = LocalKey.generate();
  const counting = rescue.countReplacement(1);
  await rescue.add([{ commitment, records: [record('a', 'a/2')] }]);
  expect(JSON.parse(await readFile(path.join(directory, 'rescue.json'), 'utf8'))).toMatchObject({
    numbers: { generation: 1, replacements: 1 },
    annotations: [expect.any(String)],
  });
  await counting;
});

test('a local key that is rescued again keeps the records of keys that could not wrap it this time', async () => {
  const directory = await temporaryDirectory();
  const rescue = await open(directory);
  const { commitment } = LocalKey.generate();
  await rescue.add([{ commitment, records: [record('a', 'a/1'), record('b', 'b/1')] }]);
  await rescue.add([{ commitment, records: [record('a', 'a/2')] }]);
  expect(kekIds(rescue, commitment)).toEqual(['a/2', 'b/1']);
  expect(kekIds(await open(directory), commitment)).toEqual(['a/2', 'b/1']);
});

test('records of earlier rescues make room where an annotation holds no more', async () => {
  const rescue = await open(await temporaryDirectory());
  const { commitment } = LocalKey.generate();
  const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
  await rescue.add([{ commitment, records: names.map((name) => record(name, `${name}/1`)) }]);
  await rescue.add([{ commitment, records: [record('i', 'i/1')] }]);
  expect(kekIds(rescue, commitment)).toEqual(['i/1']);
});
