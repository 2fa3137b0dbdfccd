import { describeFaultsAtTheSocket } from '../../src/faults/at-the-socket.js';
import { startHttpKms } from '../../src/http-kms/http-kms-harness.js';

describeFaultsAtTheSocket('http', async (directory) => {
  const harness = await startHttpKms(directory);
  return { backend: harness.backend.modulePath, harness, stop: () => harness.stop() };
});
