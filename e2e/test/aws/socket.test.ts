import { startAwsCounterpart } from '../../src/aws/aws-harness.js';
import { describeFaultsAtTheSocket } from '../../src/faults/at-the-socket.js';

describeFaultsAtTheSocket('aws', startAwsCounterpart);
