import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify, parse } from 'yaml';
import { DebianTree } from '../../src/debian.js';
import { SwTpm } from '../../src/pkcs11/swtpm.js';
import { sealwaxCommand } from '../../src/sealwax.js';
import { testDirectory } from '../../src/test-directory.js';

const run = promisify(execFile);
const page = path.resolve(import.meta.dirname, '../../../docs/backends/hsm.md');

let text: string;
let tree: DebianTree;
let tpm: SwTpm;
beforeAll(async () => {
  text = await readFile(page, 'utf8');
  tree = await DebianTree.get('pkcs11');
  tpm = await SwTpm.create(await testDirectory('docs-swtpm'));
});
afterAll(() => tpm.stop());

/** The blocks of the page with this tag, in their order. */
function blocks(language: string, tag: string): string[] {
  const fence = new RegExp(`^\`\`\`${language} test=${tag}\\n([\\s\\S]*?)^\`\`\`$`, 'gm');
  return [...text.matchAll(fence)].map(([, block]) => block ?? '');
}

/** A block as it stands, on a machine whose `/etc`, `/var` and `/usr/lib` are elsewhere. */
function moved(block: string, directory: string): string {
  return block
    .replaceAll('/etc/sealwax', `${directory}/etc/sealwax`)
    .replaceAll('/var/lib/sealwax', `${directory}/var/lib/sealwax`)
    .replaceAll('/usr/lib/', tree.file('usr/lib/'));
}

async function follow(tag: string, environment: Readonly<Record<string, string>>): Promise<string> {
  const directory = await testDirectory(`docs-${tag}`);
  await mkdir(`${directory}/etc/sealwax`, { recursive: true });
  await mkdir(`${directory}/var/lib/sealwax`, { recursive: true });
  const { PATH = '' } = environment;
  const env = { ...environment, PATH: `${path.dirname(sealwaxCommand)}:${path.dirname(process.execPath)}:${PATH}` };
  const [setUp = '', ...later] = blocks('sh', tag);
  const script = [setUp, ...later].map((block) => moved(block, directory)).join('\n');
  // The programs need the tree's libraries by this variable; Node and Sealwax are the machine's own.
  const printed = await run('bash', ['-euo', 'pipefail', '-c', script], { env });
  const [yaml = ''] = blocks('yaml', tag);
  const config = parse(moved(yaml, directory)) as { environment?: Record<string, string> };
  const keys = [
    {
      name: 'prod',
      backend: 'hsm',
      config: { ...config, environment: { ...config.environment, ...libraries(environment) } },
    },
  ];
  await writeFile(
    `${directory}/config.yaml`,
    stringify({ version: 1, cluster: 'docs', socket: { path: `${directory}/kms.sock` }, keys }),
    { mode: 0o600 },
  );
  const checked = await run(sealwaxCommand, ['check', '--config', `${directory}/config.yaml`], {
    env: { PATH: process.env['PATH'] },
  });
  return `${printed.stdout}\n${checked.stdout}`;
}

/** What a module needs because it is not installed but unpacked, and because the TPM is no device. */
function libraries(environment: Readonly<Record<string, string>>): Record<string, string> {
  const names = ['LD_LIBRARY_PATH', 'TPM2_PKCS11_TCTI', 'DBUS_SESSION_BUS_ADDRESS'];
  return Object.fromEntries(Object.entries(environment).filter(([name]) => names.includes(name)));
}

describe('docs/backends/hsm.md: the commands and the config, as they stand', () => {
  test('SoftHSM: from nothing to a key, and a rotation', async () => {
    const printed = await follow('softhsm', tree.shellEnvironment);
    expect(printed).toContain('key kms  id 0001  aes  serves aes-gcm');
    expect(printed).toMatch(/wraps and unwraps with hsm\/kms\/0002\/kcv:[0-9a-f]+/);
    expect(printed).not.toContain('advice');
  });

  test('TPM: from nothing to two keys', async () => {
    expect(await follow('tpm', { ...tpm.shellEnvironment, TPM2_PKCS11_STORE: '' })).toMatch(
      /wraps and unwraps with hsm\/kms\/3031\/cbc:[0-9a-f]+/,
    );
  });

  test('NSS: from nothing to a key, with the advice that it can be taken out', async () => {
    const printed = await follow('nss', tree.shellEnvironment);
    expect(printed).toMatch(/wraps and unwraps with hsm\/kms\/[0-9a-f-]+\/(kcv|cbc):[0-9a-f]+/);
    expect(printed).toContain('advice: the key can be taken out of the token');
  });
});
