import { existsSync } from 'node:fs';
import { chmod, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { fences, runDocCommands } from '../../src/doc-commands.js';
import { testDirectory } from '../../src/test-directory.js';

const root = path.resolve(import.meta.dirname, '../../..');
const readme = path.join(root, 'README.md');
const verdict = /^key main \(.*\blocal\b.*\): ok/m;

test('the commands of the README work in an empty folder', async () => {
  const outputs = await runDocCommands(readme, { directory: await testDirectory('readme') });
  expect(outputs.at(-1)).toMatch(verdict);
});

test('the config of the README passes sealwax check', async () => {
  const directory = await testDirectory('config');
  const [config] = fences(await readFile(readme, 'utf8'), 'yaml test');
  // The same file, with the places on a node moved to this directory.
  const file = path.join(directory, 'config.yaml');
  const moved = config?.content.replaceAll(/\/(?:run|var\/lib)\/sealwax/g, directory) ?? '';
  await writeFile(file, moved, { mode: 0o600 });
  expect(moved.match(new RegExp(directory, 'g'))).toHaveLength(3);
  const page = path.join(directory, 'page.md');
  await writeFile(page, '```sh test\nsealwax local init keys.json\nsealwax check --config config.yaml\n```\n');
  await chmod(directory, 0o700);
  expect((await runDocCommands(page, { directory })).at(-1)).toMatch(verdict);
});

test('the commands of the local backend’s page work in an empty folder, and rotate what they made', async () => {
  const directory = await testDirectory('page');
  const outputs = await runDocCommands(path.join(root, 'docs/backends/local.md'), { directory });
  expect(outputs.join('')).toMatch(verdict);
  const listed = outputs.at(-1)?.match(/^[0-9a-f]{32} .*$/gm);
  expect(listed).toHaveLength(1 + 2);
  expect(listed?.[1]?.slice(0, 32)).toBe(listed?.[0]?.slice(0, 32));
  expect(listed?.[2]).toContain('current');
  const [kept, backup] = await Promise.all(
    ['keys.json', 'backup/keys.json'].map((name) => readFile(path.join(directory, name), 'utf8')),
  );
  expect(backup).toBe(kept);
});

test('a command that fails is a failure that names its place in the page', async () => {
  const directory = await testDirectory('failing');
  const page = path.join(directory, 'page.md');
  await writeFile(
    page,
    '# A page\n\n```sh test\nanswer=41\n```\n\n```sh test\ntest $answer = 42\necho not reached\n```\n',
  );
  const run = runDocCommands(page, { directory });
  await expect(run).rejects.toThrow(`${page}:8 ended with 1`);
  await expect(run).rejects.not.toThrow(/^not reached$/m);
});

test('every link between the pages leads somewhere, and the README leads to every page', async () => {
  const inDocs = (await readdir(path.join(root, 'docs'), { recursive: true }))
    .filter((name) => name.endsWith('.md'))
    .map((name) => path.join('docs', name));
  const pages = [...(await readdir(root)).filter((name) => name.endsWith('.md')), ...inDocs];
  const dead: string[] = [];
  const fromReadme = new Set<string>();
  for (const page of pages) {
    const text = await readFile(path.join(root, page), 'utf8');
    for (const [, target = ''] of text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const file = path.resolve(root, path.dirname(page), target);
      if (!existsSync(file)) dead.push(`${page}: ${target}`);
      if (page === 'README.md') fromReadme.add(path.relative(root, file));
    }
  }
  expect(dead).toEqual([]);
  expect(inDocs.filter((page) => !fromReadme.has(page))).toEqual([]);
});
