import { ConfigError } from '@sealwax/core';
import { chmod, chown, mkdir, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { temporaryDirectory } from '../temporary-directory.js';

const isRoot = process.geteuid?.() === 0;
const OTHER_UID = 65_534;
/** Stands wherever a value may stand, and must be found in no message. */
const MARKER = 'hunter2';

const GOOD = `version: 1
cluster: prod-1
socket:
  path: /run/sealwax/kms.sock
keys:
  - name: prod
    backend: local
    config:
      path: /var/lib/sealwax/keys.json
`;

async function write(text: string, mode = 0o600): Promise<string> {
  const file = path.join(await temporaryDirectory(), 'config.yaml');
  await writeFile(file, text);
  await chmod(file, mode);
  return file;
}

/** The message with which `text` is refused, the file's name left out. */
async function refusal(text: string): Promise<string> {
  const file = await write(text);
  const error: unknown = await loadConfig(file).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(ConfigError);
  const { message } = error as ConfigError;
  for (const line of message.split('\n')) expect(line.startsWith(`${file}:`), line).toBe(true);
  return message.replaceAll(`${file}:`, '');
}

const line = (text: string, content: string) => text.split('\n').findIndex((each) => each.includes(content)) + 1;

describe('a config that is right', () => {
  test('is loaded with its backend and with a default for all that it leaves out', async () => {
    const config = await loadConfig(await write(GOOD));
    expect(config).toMatchObject({
      version: 1,
      cluster: 'prod-1',
      generation: 1,
      socket: { path: '/run/sealwax/kms.sock', mode: '0600' },
      http: { address: '127.0.0.1:9412' },
      log: { level: 'info' },
    });
    expect(config.loadedKeys).toMatchObject([
      { name: 'prod', backendName: 'local', config: { path: '/var/lib/sealwax/keys.json' } },
    ]);
  });

  test('may be JSON, which is YAML too', async () => {
    const json = { version: 1, cluster: 'c', keys: [{ name: 'prod', backend: 'local', config: { path: '/x' } }] };
    expect(await loadConfig(await write(JSON.stringify(json)))).toMatchObject({ cluster: 'c' });
  });

  test('may use anchors and aliases', async () => {
    const text = GOOD.replace('prod-1', '&name prod-1').replace('name: prod\n', 'name: *name\n');
    expect((await loadConfig(await write(text))).loadedKeys).toMatchObject([{ name: 'prod-1' }]);
  });
});

describe('what is wrong is said with file, line and path', () => {
  test.each([
    ['a value of the wrong kind', GOOD.replace('prod-1', '[]'), 'cluster: [', 'cluster'],
    ['a value in a section', `${GOOD}log:\n  level: loud\n`, 'level: loud', 'log.level'],
    ['a value in a key', GOOD.replace('name: prod', 'name: Prod'), 'name: Prod', 'keys[0].name'],
    ["a value in a backend's section", GOOD.replace('path: /var', 'path: var'), 'path: var', 'keys[0].config.path'],
    ['a missing value: the section it belongs to', GOOD.replace('name: prod', 'role: write'), 'role:', 'keys[0].name'],
    [
      "a missing value of a backend's section",
      GOOD.replace(/config:\n.*\n/, 'config: {}\n'),
      'config:',
      'keys[0].config.path',
    ],
    ["a backend's section that is missing", GOOD.replace(/ *config:\n.*\n/, ''), 'name: prod', 'keys[0].config.path'],
    ['an unknown backend', GOOD.replace('local', 'nosuch'), 'backend:', 'keys[0].backend'],
  ])('%s', async (_what, text, content, where) => {
    expect(await refusal(text)).toMatch(new RegExp(`^${line(text, content)}: ${where.replace(/[[\].]/g, '\\$&')}: `));
  });

  test('several mistakes at once', async () => {
    const message = await refusal(GOOD.replace('prod-1', '"-"').replace('version: 1', 'version: 2'));
    expect(message).toMatch(/^1: version: /m);
    expect(message).toMatch(/^2: cluster: /m);
  });

  test('text that is no YAML', async () => {
    expect(await refusal(`${GOOD}log: [\n`)).toMatch(new RegExp(`^${GOOD.split('\n').length + 1}: `));
    expect(await refusal(`${GOOD}cluster: twice\n`)).toMatch(
      new RegExp(`^${GOOD.split('\n').length}: Map keys must be unique`),
    );
  });

  test('an alias that leads nowhere', async () => {
    expect(await refusal(GOOD.replace('/var/lib/sealwax/keys.json', '*path'))).toMatch(/^9: .*alias/);
  });

  test('a file of nothing but remarks', async () => {
    expect(await refusal('# later\n')).toMatch(/^1: /);
  });
});

describe('what should have been there instead is said', () => {
  test('of a mode without quotes, which is a number', async () => {
    const message = await refusal(GOOD.replace('kms.sock', 'kms.sock\n  mode: 0600'));
    expect(message).toBe('5: socket.mode: must be four octal digits in quotes, for instance "0600"');
  });

  test('of an address for spans that no HTTP leads to', async () => {
    const message = await refusal(`${GOOD}traces: { otlpEndpoint: "grpc://127.0.0.1:4317" }\n`);
    expect(message).toBe('10: traces.otlpEndpoint: must be a URL that begins with http:// or https://');
  });
});

describe('an unknown key', () => {
  test.each([
    ['of the file', `${GOOD}clusters: x\n`, 'clusters', 'cluster'],
    ['of a section', `${GOOD}log:\n  levle: debug\n`, 'log.levle', 'level'],
    ['of a key', GOOD.replace('backend:', 'bakend:'), 'keys[0].bakend', 'backend'],
    ["of a backend's section", GOOD.replace('path: /var', 'pth: /var'), 'keys[0].config.pth', 'path'],
  ])('%s is an error that suggests the nearest known one', async (_where, text, where, near) => {
    const message = await refusal(text);
    expect(message).toContain(`${where}: unknown key; did you mean "${near}"?`);
    expect(message).toContain(`${line(text, `${where.split('.').at(-1)!}:`)}: ${where}`);
  });

  test('that is like none is an error without a suggestion', async () => {
    expect(await refusal(`${GOOD}entirelydifferent: 1\n`)).toContain('entirelydifferent: unknown key\n'.trim());
    expect(await refusal(`${GOOD}entirelydifferent: 1\n`)).not.toContain('did you mean');
  });

  test('does not hide another one beside it', async () => {
    const message = await refusal(`${GOOD}loog: {}\nhtpp: {}\n`);
    expect(message).toContain('10: loog: unknown key; did you mean "log"?');
    expect(message).toContain('11: htpp: unknown key; did you mean "http"?');
    const section = await refusal(`${GOOD}      mode: 1\n      kind: 2\n`);
    expect(section).toContain('10: keys[0].config.mode: unknown key');
    expect(section).toContain('11: keys[0].config.kind: unknown key');
  });

  test('that names a secret is an error like any other: only files can be named', async () => {
    expect(await refusal(`${GOOD}      token: ${MARKER}\n`)).toContain('10: keys[0].config.token: unknown key');
  });
});

describe('no value of the file stands in any message', () => {
  const texts = [
    `a: "${MARKER}" ${MARKER}`,
    `a: [${MARKER}`,
    `a: {${MARKER}`,
    `a: ]${MARKER}`,
    `a: [b]${MARKER}`,
    `a: "\\q${MARKER}"`,
    `a: "\\U${MARKER}00"`,
    `a: "b\n"${MARKER}`,
    `a: "${MARKER}`,
    `a: '${MARKER}`,
    `a: ${MARKER}: ${MARKER}`,
    `a: |${MARKER}\n x`,
    `a: >${MARKER}\n x`,
    `a: @${MARKER}`,
    `a: \`${MARKER}`,
    `a: *${MARKER}`,
    `a: &${MARKER} &${MARKER} b`,
    `a: !${MARKER} b`,
    `a: !!${MARKER} b`,
    `a: !a!${MARKER} b`,
    `a: !<${MARKER}`,
    `a: !!int ${MARKER}`,
    `a: !!set [${MARKER}]`,
    `a: b\n}${MARKER}`,
    `a: b\n ${MARKER}`,
    `a: b\n${MARKER}`,
    `a: b\n...\n${MARKER}`,
    `--- ${MARKER}\n--- ${MARKER}`,
    `%${MARKER}\n---\na: b`,
    `%YAML ${MARKER}\n---\na: b`,
    `\t${MARKER}`,
    `- ${MARKER}\na: ${MARKER}`,
    `? {a: ${MARKER}}\n: b`,
    `? [${MARKER}]\n: b`,
    MARKER,
    `[${MARKER}]`,
    `version: ${MARKER}`,
    `cluster: ${MARKER} ${MARKER}`,
    `generation: ${MARKER}`,
    `keys: ${MARKER}`,
    `keys: [${MARKER}]`,
    `keys: [{ name: ${MARKER}! }]`,
    `keys: [{ role: ${MARKER} }]`,
    `socket: { path: ${MARKER}, mode: ${MARKER}, group: [${MARKER}] }`,
    `http: { address: ${MARKER} }`,
    `log: { level: ${MARKER} }`,
    `limits: { remoteCallSeconds: ${MARKER}, heldLocalKeys: ${MARKER} }`,
    // The name of a backend is said when its package is missing: it is what has to be installed.
    GOOD.replace('local', `[${MARKER}]`),
    GOOD.replace('/var', MARKER),
    GOOD.replace(/config:\n.*/, `config: ${MARKER}`),
    GOOD.replace(/config:\n.*/, `config: [${MARKER}]`),
    GOOD.replace('/var/lib/sealwax/keys.json', `{ ${MARKER}: ${MARKER} }`),
    `a: &a [${MARKER},x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c]`,
    `a: &a [*a, ${MARKER}]`,
  ];

  test.each(texts)('%j', async (text) => {
    const warnings = vi.spyOn(process, 'emitWarning').mockReturnValue();
    expect(await refusal(text)).not.toContain(MARKER);
    expect(warnings).not.toHaveBeenCalled();
    warnings.mockRestore();
  });
});

describe('the file itself', () => {
  test.each([0o600, 0o640, 0o644, 0o444])('may have mode %o: no secret stands in it', async (mode) => {
    expect(await loadConfig(await write(GOOD, mode))).toMatchObject({ cluster: 'prod-1' });
  });

  test.each([0o620, 0o602, 0o666])('of mode %o is refused, with the command that mends it', async (mode) => {
    const file = await write(GOOD, mode);
    await expect(loadConfig(file)).rejects.toThrow(`chmod 0${(mode & ~0o022).toString(8)} ${file}`);
  });

  test.runIf(isRoot)('of another user is refused', async () => {
    const file = await write(GOOD);
    await chown(file, OTHER_UID, OTHER_UID);
    await expect(loadConfig(file)).rejects.toThrow(`belongs to uid ${OTHER_UID}`);
  });

  test('that is missing is refused, with the option that names another', async () => {
    const file = path.join(await temporaryDirectory(), 'none.yaml');
    const error: unknown = await loadConfig(file).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as Error).message).toContain(file);
    expect((error as Error).message).toContain('--config');
  });

  test('that is empty or a directory is refused', async () => {
    await expect(loadConfig(await write(''))).rejects.toBeInstanceOf(ConfigError);
    const directory = path.join(await temporaryDirectory(), 'config.yaml');
    await mkdir(directory);
    await expect(loadConfig(directory)).rejects.toBeInstanceOf(ConfigError);
  });

  test('may be a symbolic link, as a mounted ConfigMap is', async () => {
    const file = await write(GOOD);
    await symlink(file, `${file}.link`);
    expect(await loadConfig(`${file}.link`)).toMatchObject({ cluster: 'prod-1' });
  });
});
