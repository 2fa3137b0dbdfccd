import { readFileSync, writeFileSync } from 'node:fs';
import { close as closeInspector, url as inspectorUrl } from 'node:inspector';
import { ConfigError } from '@sealwax/core';
import type { Log } from './log.js';

/**
 * Refuses an environment in which Node itself would give secrets away.
 *
 * @throws {ConfigError}
 */
export function refuseUnsafeEnvironment(): void {
  if (process.env['NODE_TLS_REJECT_UNAUTHORIZED'] === '0') {
    throw new ConfigError(
      '',
      'NODE_TLS_REJECT_UNAUTHORIZED=0 switches off the check of every KMS’s certificate; unset it and configure the CA',
    );
  }
  if (process.env['NODE_DEBUG'] !== undefined) {
    throw new ConfigError('', 'NODE_DEBUG prints requests with their credentials; unset it');
  }
  if (inspectorUrl() !== undefined) {
    throw new ConfigError('', 'the inspector is open: whoever connects reads all keys; start without --inspect');
  }
}

/** Closes what the system leaves open for debugging: the inspector on SIGUSR1, and memory in core dumps. */
export function closeDebugDoors(log: Log): void {
  // Node opens the inspector on this signal unless somebody handles it.
  process.on('SIGUSR1', () => {
    log.warn('SIGUSR1 ignored: it would open the inspector');
  });
  // It may have come before the handler; `refuseUnsafeEnvironment` has seen that nobody asked for an inspector.
  if (inspectorUrl() !== undefined) closeInspector();
  if (process.platform !== 'linux') return;
  // `bin/sealwax` sets the limit; only a server that was started without it gets here with another.
  if (/^Max core file size\s+0\s/m.test(readFileSync('/proc/self/limits', 'utf8'))) return;
  writeFileSync('/proc/self/coredump_filter', '0');
  log.warn(
    'the core size limit is not 0: start through bin/sealwax or set LimitCORE=0. Memory is left out of core dumps for now',
  );
}
