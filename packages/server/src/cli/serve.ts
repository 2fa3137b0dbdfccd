import { loadConfig } from '../config/load.js';
import { openLog } from '../log.js';
import { closeDebugDoors, refuseUnsafeEnvironment } from '../process-guard.js';
import { serve } from '../serve.js';
import { surviveStrayRejections } from '../stray-rejection.js';
import { setV8Flags } from './v8-flags.js';

/** `sealwax serve`: returns when the server runs; the process ends by a signal. */
export async function runServer(configFile: string): Promise<void> {
  refuseUnsafeEnvironment();
  // First of all: unhandled, the signal ends the process. What it announces may have come after the config was read.
  let reloadIsDue = false as boolean;
  let reload = () => {
    reloadIsDue = true;
  };
  process.on('SIGHUP', () => {
    reload();
  });
  const config = await loadConfig(configFile);
  const log = openLog(config.log.level);
  closeDebugDoors(log);
  let keys = () => config.loadedKeys;
  surviveStrayRejections(log, () => keys());
  const running = await serve(config, configFile, log);
  keys = () => running.config.loadedKeys;
  reload = () => {
    running.reload();
  };
  if (reloadIsDue) reload();

  let stopping = false;
  const stop = (signal: NodeJS.Signals) => {
    if (stopping) process.exit(1);
    stopping = true;
    log.info({ signal }, 'stopping; a second signal stops at once');
    running.close().then(
      () => {
        log.info('stopped');
        process.exit(0);
      },
      (error: unknown) => {
        log.error({ error }, 'stopped in disorder');
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  setV8Flags();
}
