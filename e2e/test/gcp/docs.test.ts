import { backend } from '@sealwax/backend-gcp';
import { describeBackendPage } from '../../src/describe-backend-page.js';

describeBackendPage('gcp', backend);
