import { startAzureKey } from '../../src/azure.js';
import { describeFaultsAtTheSocket } from '../../src/faults/at-the-socket.js';

describeFaultsAtTheSocket('azure', startAzureKey);
