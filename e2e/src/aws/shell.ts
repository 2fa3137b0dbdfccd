import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { pythonEnvironment } from './python.js';

const execFileAsync = promisify(execFile);

/** Runs scripts with the AWS CLI against one endpoint, as the principal with this access key. */
export interface AwsShell {
  /** @returns stdout, without its last line's end */
  readonly run: (script: string, environment?: Readonly<Record<string, string>>) => Promise<string>;
}

interface AwsShellOptions {
  readonly endpoint: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Where scripts run. */
  readonly directory: string;
}

/** Defines the command for a script: the one that pip installs names the directory in which it was installed, and not the cache. */
const aws = 'aws() { python -m awscli "$@"; }';

export async function awsShell(options: AwsShellOptions): Promise<AwsShell> {
  const { bin } = await pythonEnvironment('aws-cli');
  return {
    run: async (script, environment = {}) => {
      const { stdout } = await execFileAsync('bash', ['-euo', 'pipefail', '-c', `${aws}\n${script}`], {
        cwd: options.directory,
        env: {
          PATH: `${bin}:${process.env['PATH'] ?? ''}`,
          HOME: options.directory,
          AWS_ENDPOINT_URL: options.endpoint,
          AWS_REGION: options.region,
          AWS_DEFAULT_REGION: options.region,
          AWS_ACCESS_KEY_ID: options.accessKeyId,
          AWS_SECRET_ACCESS_KEY: options.secretAccessKey,
          AWS_PAGER: '',
          ...environment,
        },
      });
      return stdout.trimEnd();
    },
  };
}
