import { describeFaultsOnTheCluster } from '../../src/faults/on-the-cluster.js';
import { startSoftHsm } from '../../src/pkcs11/softhsm-harness.js';

describeFaultsOnTheCluster('hsm', startSoftHsm);
