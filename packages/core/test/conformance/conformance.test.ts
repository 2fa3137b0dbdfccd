import { AssertionError } from 'node:assert/strict';
import path from 'node:path';
import { afterAll, describe, expect, test, type TestContext } from 'vitest';
import { conformanceCases, type Harness } from '../../src/conformance/index.js';
import { FLAWS } from './flaws/all.js';
import { buildModule, littleHarness } from './little-harness.js';
import { backend } from './little-module.js';

const TIMEOUT_MS = 120_000;
const HANDLES = 'lifetime: close leaves no handle open';
const SECRETS = 'messages: no error and no report shows a secret or a plaintext';

const built = await buildModule();
const good = await littleHarness(built.moduleUrl);
afterAll(async () => {
  await good.stop();
  await built.remove();
});

const caseNamed = (harness: Harness, name: string) => {
  const found = conformanceCases(harness).find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`no case is called "${name}"`);
  return found;
};

describe('a good backend passes', () => {
  for (const { name, run } of conformanceCases(good.harness)) test(name, { timeout: TIMEOUT_MS }, run);
});

/** One case, on a backend with a flaw: it must fail. What several tests share at a time cannot tell whose an expectation is, so each brings its own. */
const catches = async (name: string, flaw: string, { expect }: Pick<TestContext, 'expect'>) => {
  const { harness, stop } = await littleHarness(built.moduleUrl, flaw);
  const says = expect.stringContaining(FLAWS[flaw]?.says ?? '');
  try {
    const failure = await caseNamed(harness, name)
      .run()
      .catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(AssertionError);
    expect(failure).toHaveProperty('message', says);
  } finally {
    await stop();
  }
};

describe('a backend that', () => {
  const pairs = Object.entries(FLAWS).flatMap(([flaw, { caughtBy }]) => caughtBy.map((name) => ({ flaw, name })));
  // The case that counts the handles of this process cannot share it.
  const together = pairs.filter(({ name }) => name !== HANDLES);
  const alone = pairs.filter(({ name }) => name === HANDLES);

  describe.concurrent('waiting does no harm', () => {
    for (const { flaw, name } of together)
      test(`${flaw} is caught by "${name}"`, { timeout: TIMEOUT_MS }, (context) => catches(name, flaw, context));
  });

  for (const { flaw, name } of alone)
    test(`${flaw} is caught by "${name}"`, { timeout: TIMEOUT_MS }, (context) => catches(name, flaw, context));
});

describe('a module that', () => {
  const { harness } = good;

  test('speaks another version of the interface is caught', async () => {
    const module = { ...backend, apiVersion: 2 } as unknown as Harness['module'];
    const name = 'config: the module names the version of the interface that this kit tests';
    await expect(caseNamed({ ...harness, module }, name).run()).rejects.toThrow(AssertionError);
  });

  test('accepts an unknown key is caught', async () => {
    const config: Harness['module']['config'] = {
      '~standard': {
        ...backend.config['~standard'],
        validate: (value) => (typeof value === 'object' ? { value } : { issues: [{ message: 'no object' }] }),
      },
    };
    const name = 'config: a wrong section is refused with issues, an unknown key too';
    await expect(caseNamed({ ...harness, module: { ...backend, config } }, name).run()).rejects.toThrow(AssertionError);
  });
});

test('every case catches something', () => {
  const catching = new Set(Object.values(FLAWS).flatMap(({ caughtBy }) => caughtBy));
  const idle = conformanceCases(good.harness).filter(({ name }) => !catching.has(name) && !name.startsWith('config: '));
  expect(idle.map(({ name }) => name)).toEqual([]);
});

test('names are unique', () => {
  const names = conformanceCases(good.harness).map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
});

test('a case that needs what the harness cannot do is skipped with the reason', () => {
  const { module, config, secrets, faults } = good.harness;
  const lacking = { ...faults, rotate: 'never rotates' };
  const cases = conformanceCases({ module, config, secrets, faults: lacking, mend: () => good.harness.mend() });
  const skipped = (theme: string) =>
    cases.flatMap(({ name, skip }) => (name.startsWith(theme) && skip !== undefined ? [skip] : []));
  expect(new Set(skipped('rotation: '))).toEqual(new Set(['never rotates']));
  expect(skipped('lifetime: ')).toEqual([expect.stringContaining('moduleUrl'), expect.stringContaining('moduleUrl')]);
  expect(skipped('wrapping: ')).toEqual([]);
});

test('a harness without the fault that may be left out skips its case with the reason', () => {
  const { stranger, ...faults } = good.harness.faults;
  expect(stranger).toBeDefined();
  const skips = conformanceCases({ ...good.harness, faults }).flatMap(({ skip }) => skip ?? []);
  expect(skips).toEqual(['the harness has no fault "stranger"']);
});

test('a secret that is too short to be looked for is refused before any case', () => {
  const secrets = ['of eight', 'root'];
  expect(() => conformanceCases({ ...good.harness, secrets })).toThrow(
    'harness.secrets[1] is too short to be looked for: use 8 random characters or more',
  );
});

test('a secret that is also a part of a path is not found in the file locations of a stack', async () => {
  const secrets = [path.basename(import.meta.dirname)];
  await caseNamed({ ...good.harness, secrets }, SECRETS).run();
});
