import { backend } from '@sealwax/backend-azure';
import { describeBackendPage } from '../../src/describe-backend-page.js';

describeBackendPage('azure', backend);
