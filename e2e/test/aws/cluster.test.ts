import { startAwsCounterpart } from '../../src/aws/aws-harness.js';
import { describeFaultsOnTheCluster } from '../../src/faults/on-the-cluster.js';

describeFaultsOnTheCluster('aws', startAwsCounterpart);
