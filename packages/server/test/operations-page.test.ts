import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { atEndOfFile } from './end-of-file.js';
import { parse } from 'yaml';
import { loadConfig } from '../src/config/load.js';
import { configSchema } from '../src/config/schema.js';
import { sealwax } from './command-line.js';
import { startPlugin } from './plugin.js';
import { temporaryDirectory } from './temporary-directory.js';

const docs = new URL('../../../docs/', import.meta.url);
const pages = { 'operations.md': '', 'security.md': '' };
for (const name of Object.keys(pages) as (keyof typeof pages)[])
  pages[name] = readFileSync(new URL(name, docs), 'utf8');
const operations = pages['operations.md'];

/** The fenced blocks with this info string, their indentation taken off. */
function fences(info: string): string[] {
  return [...operations.matchAll(new RegExp(`^( *)\`\`\`${info}\n(.*?)^ *\`\`\`$`, 'gms'))].map(([, indent, text]) =>
    text!.replaceAll(new RegExp(`^${indent!}`, 'gm'), ''),
  );
}

describe('the metrics table of docs/operations.md', () => {
  let families: string[];
  beforeAll(async () => {
    const plugin = await startPlugin({ atEnd: atEndOfFile });
    const page = await (await plugin.http('/metrics')).text();
    families = [...page.matchAll(/^# TYPE (sealwax_\w+)/gm)].map(([, name]) => name!);
  });

  test('names every metric of ours, and none that is not', () => {
    const rows = [...operations.matchAll(/^\| `(sealwax_\w+)` \|/gm)].map(([, name]) => name!);
    expect(rows.toSorted()).toEqual(families.toSorted());
  });

  test.each(Object.entries(pages))('%s speaks of no other metric', (_name, page) => {
    for (const [name] of page.matchAll(/sealwax_[a-z_]+[a-z]/g)) expect(families).toContain(name);
  });
});

describe('what docs/operations.md shows', () => {
  test('as a config is one', async () => {
    const configs = fences('yaml config');
    expect(configs.length).toBeGreaterThan(0);
    for (const text of configs) {
      const file = path.join(await temporaryDirectory(), 'config.yaml');
      await writeFile(file, text, { mode: 0o600 });
      await loadConfig(file);
    }
  });

  test('as manifests is YAML, and agrees on the paths and the port', () => {
    const { socket, http } = configSchema.parse({ version: 1, cluster: 'c', keys: [{ name: 'k', backend: 'local' }] });
    const [pod] = fences('yaml pod').map((text) => parse(text) as { spec: Record<string, unknown> });
    const [encryption] = fences('yaml encryption').map((text) => JSON.stringify(parse(text)));
    const [kubeadm] = fences('yaml kubeadm').map((text) => JSON.stringify(parse(text)));
    expect(encryption).toContain(`"endpoint":"unix://${socket.path}"`);
    expect(kubeadm).toContain(`"mountPath":"${path.dirname(socket.path)}"`);
    expect(JSON.stringify(pod)).toContain(`"mountPath":"${path.dirname(socket.path)}"`);
    expect(JSON.stringify(pod)).toContain(`"port":${http.address.split(':')[1]!},"path":"/livez"`);
  });

  test('as a unit keeps the directory of the socket, and comes before the kubelet', () => {
    const [unit] = fences('ini unit');
    for (const line of ['RuntimeDirectoryPreserve=yes', 'Before=kubelet.service', 'LimitCORE=0', 'Restart=always']) {
      expect(unit!.split('\n')).toContain(line);
    }
  });

  test('as commands of sealwax are commands with these options', async () => {
    const commands = [
      ...operations.matchAll(/^ *(?:ExecStart=\S*\/)?sealwax ([a-z][a-z -]*?)((?: --?\S+(?: [^-\s]\S*)?)*)$/gm),
    ];
    expect(commands.length).toBeGreaterThan(2);
    for (const [, words, options] of commands) {
      const { code, out } = await sealwax([...words!.trim().split(' '), '--help']);
      expect(code, words).toBe(0);
      for (const [option] of options!.matchAll(/--[a-z-]+/g)) expect(out).toContain(option);
    }
  });
});

describe('links', () => {
  test.each(Object.entries(pages))('of %s lead to files and to headings', (_name, page) => {
    const anchors = [...page.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
      heading!
        .toLowerCase()
        .replaceAll(/[^\w -]/g, '')
        .replaceAll(' ', '-'),
    );
    for (const [, file, anchor] of page.matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)) {
      if (file !== '') expect(existsSync(new URL(file!, docs)), file).toBe(true);
      else expect(anchors).toContain(anchor);
    }
  });
});
