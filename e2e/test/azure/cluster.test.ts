import { startAzureKey } from '../../src/azure.js';
import { describeFaultsOnTheCluster } from '../../src/faults/on-the-cluster.js';

describeFaultsOnTheCluster('azure', startAzureKey);
