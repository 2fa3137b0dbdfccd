import { describeFaultsOnTheCluster } from '../../src/faults/on-the-cluster.js';
import { startHttpKey } from '../../src/http-kms/http-key.js';

describeFaultsOnTheCluster('http', startHttpKey);
