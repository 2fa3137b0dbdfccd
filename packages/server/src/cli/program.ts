import { isConfigError, systemErrorText } from '@sealwax/core';
import { Command, Option } from 'commander';
import { version } from '../version.js';

// Each command is imported when it is called: `serve` must not wait for what only `check` needs.

const CONFIG = ['--config <file>', 'the config file', '/etc/sealwax/config.yaml'] as const;

const program = new Command('sealwax')
  .description('Kubernetes KMS plugin: encrypts the Secrets of a cluster with the key-management system you own')
  .version(version, '--version', 'print the version')
  // So that a backend's own command gets every word behind its name, `--help` included.
  .enablePositionalOptions();

program
  .command('serve')
  .description('serve the KMS v2 API on the socket until SIGTERM')
  .option(...CONFIG)
  .action(async ({ config }: { config: string }) => {
    // While the rest is loaded: it would end the process, and the config is read after that.
    process.on('SIGHUP', () => undefined);
    const { runServer } = await import('./serve.js');
    await runServer(config);
  });

program
  .command('check')
  .description('check the config; open each key, wrap and unwrap with it; exit 1 if anything fails')
  .option(...CONFIG)
  .option('--against <file>', 'the config of another node: names, roles, KEK ids and cluster must agree')
  .action(async ({ config, against }: { config: string; against?: string }) => {
    const { check } = await import('./check.js');
    process.exitCode = (await check(config, { against })) ? 0 : 1;
  });

program
  .command('keys')
  .description(
    'show each key with its role, state and KEK id, as the running plugin sees it; exit 1 if one is not well',
  )
  .option(...CONFIG)
  .addOption(new Option('-o, --output <format>', 'how to show it').choices(['text', 'json']).default('text'))
  .action(async ({ config, output }: { config: string; output: 'text' | 'json' }) => {
    const { showKeys } = await import('./keys.js');
    process.exitCode = (await showKeys(config, { output })) ? 0 : 1;
  });

program
  .command('config')
  .description('about the config file')
  .command('schema')
  .description('print the JSON Schema of the config file, for editors')
  .action(async () => {
    const { printConfigSchema } = await import('./config-schema.js');
    await printConfigSchema();
  });

program
  .command('version')
  .description('print the version')
  .action(() => {
    console.log(`sealwax ${version} (node ${process.version})`);
  });

program
  .command('local')
  .description('make, rotate and list key files of the local backend')
  .argument('[arguments...]')
  .helpOption(false)
  .allowUnknownOption()
  .passThroughOptions()
  .action(async (args: string[]) => {
    const { runBackendCommand } = await import('./backend-command.js');
    process.exitCode = await runBackendCommand('local', args);
  });

program
  .command('hsm')
  .description('list the tokens, mechanisms and keys of a PKCS #11 module')
  .argument('[arguments...]')
  .helpOption(false)
  .allowUnknownOption()
  .passThroughOptions()
  .action(async (args: string[]) => {
    const { runBackendCommand } = await import('./backend-command.js');
    process.exitCode = await runBackendCommand('hsm', args);
  });

// Not for a server, whose log is written without these streams: to open them makes a pipe refuse lines while it is full.
if (process.argv[2] !== 'serve') {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      // Whoever reads has seen enough.
      if (error.code === 'EPIPE') return;
      console.error(`sealwax: cannot write: ${systemErrorText(error)}`);
      process.exit(1);
    });
  }
}

try {
  await program.parseAsync();
} catch (error) {
  // An operator's mistake is said in one line; a defect of ours comes with its stack.
  console.error(isConfigError(error) ? `sealwax: ${error.message}` : error);
  process.exitCode = 1;
}
