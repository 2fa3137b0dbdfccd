import { describeFaultsAtTheSocket } from '../../src/faults/at-the-socket.js';
import { startHttpKey } from '../../src/http-kms/http-key.js';

describeFaultsAtTheSocket('http', startHttpKey);
