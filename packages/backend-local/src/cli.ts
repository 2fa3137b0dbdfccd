#!/usr/bin/env node
import { Command } from 'commander';
import { createKeyFile, readKeyFile, rotateKeyFile } from './key-file.js';

/** `sealwax-local`, which `sealwax local` runs: makes, rotates and shows key files. */
const program = new Command('sealwax local').description('Key files of the embedded local backend');

program
  .command('init')
  .description('make a key file with one version; refuses to replace a file')
  .argument('<file>', 'absolute or relative path of the new key file')
  .action(async (file: string) => {
    const id = await createKeyFile(file);
    console.log(`${file}: made, version ${id}. Keep a backup: without this file nothing it wrapped can be read.`);
  });

program
  .command('rotate')
  .description('append a new version, which wraps from then on; older ones still unwrap')
  .argument('<file>', 'path of the key file')
  .action(async (file: string) => {
    const id = await rotateKeyFile(file);
    console.log(`${file}: version ${id} wraps from now on. A running plugin notices by itself. Renew the backup.`);
  });

program
  .command('list')
  .description('show the versions, newest last; never a key')
  .argument('<file>', 'path of the key file')
  .action(async (file: string) => {
    const versions = await readKeyFile(file, { owner: 'anybody' });
    for (const [index, { id, created }] of versions.entries()) {
      console.log(`${id}  ${created}${index === versions.length - 1 ? '  current' : ''}`);
    }
  });

try {
  await program.parseAsync();
} catch (error) {
  const taken = error instanceof Error && 'code' in error && error.code === 'EEXIST';
  const text = error instanceof Error ? error.message : String(error);
  console.error(
    `sealwax local: ${taken ? `${program.args.at(-1) ?? 'file'}: is there already; a key file is never replaced` : text}`,
  );
  process.exitCode = 1;
}
