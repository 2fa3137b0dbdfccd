import { describeFaultsAtTheSocket } from '../../src/faults/at-the-socket.js';
import { startSoftHsm } from '../../src/pkcs11/softhsm-harness.js';

describeFaultsAtTheSocket('hsm', startSoftHsm);
