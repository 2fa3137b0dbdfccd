import { describeRotation } from '../../src/aws/describe-rotation.js';
import { startLiveAccount } from '../../src/aws/live-account.js';

describeRotation('aws-live', (directory) => startLiveAccount('rotation', directory));
