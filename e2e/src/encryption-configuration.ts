/** The name of the provider, which the API server writes in front of every value. */
export const providerName = 'sealwax';

/** An EncryptionConfiguration with Sealwax as its only provider: what it cannot seal is not stored, and what it cannot open is not read. */
export function sealwaxOnly(socketPath: string): unknown {
  return {
    apiVersion: 'apiserver.config.k8s.io/v1',
    kind: 'EncryptionConfiguration',
    resources: [
      {
        resources: ['secrets', 'configmaps'],
        providers: [{ kms: { apiVersion: 'v2', name: providerName, endpoint: `unix://${socketPath}`, timeout: '3s' } }],
      },
    ],
  };
}
