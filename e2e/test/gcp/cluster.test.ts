import { startGcpKey } from '../../src/gcp.js';
import { describeFaultsOnTheCluster } from '../../src/faults/on-the-cluster.js';

describeFaultsOnTheCluster('gcp', startGcpKey);
