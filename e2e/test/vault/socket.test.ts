import { describeFaultsAtTheSocket } from '../../src/faults/at-the-socket.js';
import { startVaultKey } from '../../src/openbao/vault-key.js';

describeFaultsAtTheSocket('vault', startVaultKey);
