import { readFileSync } from 'node:fs';
import { chmod, readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { SEALWAX, sealwax, shell } from '../command-line.js';
import { makeKeyFile, writeConfig } from '../config-file.js';
import { temporaryDirectory } from '../temporary-directory.js';

const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

describe('sealwax', () => {
  test('explains itself with --help, and each of its commands too', async () => {
    const { code, out, err } = await sealwax(['--help']);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    for (const command of ['serve', 'check', 'config', 'version', 'local']) {
      expect(out).toMatch(new RegExp(`^ +${command}\\b`, 'm'));
    }
    for (const words of [['serve'], ['check'], ['config'], ['config', 'schema'], ['version']]) {
      const help = await sealwax([...words, '--help']);
      expect(help, words.join(' ')).toMatchObject({ code: 0, err: '' });
      expect(help.out).toContain(`Usage: sealwax ${words.join(' ')}`);
    }
  });

  test('serve and check say where they look for the config', async () => {
    for (const command of ['serve', 'check']) {
      expect((await sealwax([command, '--help'])).out).toContain('default: "/etc/sealwax/config.yaml"');
    }
  });

  test.each([[['nosuch']], [['serve', '--nosuch']], [['config', 'nosuch']], [['check', 'too', 'many']]])(
    'refuses %j on stderr',
    async (args) => {
      const { code, out, err } = await sealwax(args);
      expect(code).not.toBe(0);
      expect(out).toBe('');
      expect(err).toMatch(/error: /);
    },
  );

  test('tells its version, and that of Node', async () => {
    expect(await sealwax(['version'])).toMatchObject({
      code: 0,
      out: `sealwax ${manifest.version} (node ${process.version})\n`,
    });
    expect(await sealwax(['--version'])).toMatchObject({ code: 0, out: `${manifest.version}\n` });
  });

  test('is found through a link to it', async () => {
    const link = path.join(await temporaryDirectory(), 'sealwax');
    await symlink(SEALWAX, link);
    const { execFileSync } = await import('node:child_process');
    expect(execFileSync(link, ['--version'], { encoding: 'utf8' })).toBe(`${manifest.version}\n`);
  });
});

describe('sealwax local', () => {
  test("runs the local backend's own command, --help included, and passes its exit code on", async () => {
    const help = await sealwax(['local', '--help']);
    expect(help.code).toBe(0);
    expect(help.out).toContain('rotate');
    const file = path.join(await temporaryDirectory(), 'keys.json');
    expect((await sealwax(['local', 'init', file])).code).toBe(0);
    expect((await sealwax(['local', 'init', file])).code).toBe(1);
    expect((await sealwax(['local', 'list', file])).out).toContain('current');
  });
});

describe('a config that is wrong', () => {
  test.each(['serve', 'check'])('makes %s exit with 1, one line for each mistake and no stack', async (command) => {
    const file = path.join(await temporaryDirectory(), 'config.yaml');
    await writeFile(file, 'version: 1\ncluster: prod-1\nclutser: x\nkeys: []\n', { mode: 0o600 });
    const { code, out, err } = await sealwax([command, '--config', file]);
    expect({ code, out }).toEqual({ code: 1, out: '' });
    expect(err).toContain(`${file}:3: clutser: unknown key; did you mean "cluster"?`);
    expect(err).toContain(`${file}:4: keys: `);
    expect(err.trimEnd().split('\n')).toHaveLength(2);
  });

  test('is refused when others may write to it', async () => {
    const config = await writeConfig(await temporaryDirectory());
    await chmod(config.file, 0o666);
    const { code, err } = await sealwax(['check', '--config', config.file]);
    expect(code).toBe(1);
    expect(err).toContain(`chmod 0644 ${config.file}`);
  });
});

describe('sealwax check', () => {
  test('says of each key whether it wraps and unwraps, and the bytes added to every object', async () => {
    const config = await writeConfig(await temporaryDirectory());
    await makeKeyFile(config);
    const { code, out, err } = await sealwax(['check', '--config', config.file]);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toMatch(/^key prod \([^)]*\blocal\b[^)]*\): ok: wraps and unwraps with local\/[0-9a-f]{32}$/m);
    expect(out).toMatch(/^every object in etcd grows by \d{3} bytes$/m);
  });

  test('fails, with the code and the reason, when a key fails', async () => {
    const config = await writeConfig(await temporaryDirectory());
    const { code, out } = await sealwax(['check', '--config', config.file]);
    expect(code).toBe(1);
    expect(out).toMatch(
      /^key prod \([^)]*\blocal\b[^)]*\): FAILED: key-not-found: local: .*keys\.json: no such file or directory/m,
    );
  });

  test('touches neither socket nor port: a serving plugin goes on', async () => {
    const { startPlugin } = await import('../plugin.js');
    const plugin = await startPlugin();
    const { code } = await sealwax(['check', '--config', plugin.config.file]);
    expect(code).toBe(0);
    expect((await plugin.http('/readyz')).status).toBe(200);
  });

  test('changes nothing in the key file', async () => {
    const config = await writeConfig(await temporaryDirectory());
    await makeKeyFile(config);
    const before = await readFile(config.keyFile);
    await sealwax(['check', '--config', config.file]);
    expect((await readFile(config.keyFile)).equals(before)).toBe(true);
  });
});

describe('output that cannot be written', () => {
  test.runIf(process.platform === 'linux')('is said in one line, and the command fails', async () => {
    const config = await writeConfig(await temporaryDirectory());
    await makeKeyFile(config);
    expect(await shell('"$0" "$@" >/dev/full', ['check', '--config', config.file])).toEqual({
      code: 1,
      out: '',
      err: 'sealwax: cannot write: no space left on device\n',
    });
  });

  test('because its reader has left is no failure, and nothing is said of it', async () => {
    const config = await writeConfig(await temporaryDirectory());
    await makeKeyFile(config);
    const line = '{ "$0" "$@"; echo "exit code $?" >&2; } | true';
    const { err } = await shell(line, ['check', '--config', config.file]);
    expect(err).toBe('exit code 0\n');
  });
});
