import { describeFaultsOnTheCluster } from '../../src/faults/on-the-cluster.js';
import { startVaultKey } from '../../src/openbao/vault-key.js';

describeFaultsOnTheCluster('vault', startVaultKey);
