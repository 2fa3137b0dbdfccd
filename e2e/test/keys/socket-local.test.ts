import { describeFaultsAtTheSocket } from '../../src/faults/at-the-socket.js';
import { startLocalKey } from '../../src/local-key.js';

describeFaultsAtTheSocket('local', startLocalKey);
