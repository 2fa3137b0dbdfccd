/** The KMS v2 client and messages, for tools and tests that talk to a plugin. */
export {
  KeyManagementServiceClient,
  type DecryptRequest,
  type DecryptResponse,
  type EncryptRequest,
  type EncryptResponse,
  type StatusResponse,
} from './gen/kms/v2/kms.js';
