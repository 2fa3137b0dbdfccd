import { startGcpKey } from '../../src/gcp.js';
import { describeFaultsAtTheSocket } from '../../src/faults/at-the-socket.js';

describeFaultsAtTheSocket('gcp', startGcpKey);
