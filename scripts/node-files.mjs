/** Where things lie on a control-plane node. */
const onNode = {
  config: '/etc/sealwax/config.yaml',
  keyFile: '/var/lib/sealwax/keys.json',
  socket: '/run/sealwax/kms.sock',
  encryption: '/etc/kubernetes/encryption.yaml',
};

/**
 * A config file with one key of the local backend.
 *
 * @param {{ cluster: string, socketPath: string, keyFile: string, httpAddress?: string }} options
 * @returns {string}
 */
export function configText({ cluster, socketPath, keyFile, httpAddress }) {
  const http = httpAddress === undefined ? '' : `http: { address: ${JSON.stringify(httpAddress)} }\n`;
  return `version: 1
cluster: ${cluster}
socket: { path: ${socketPath} }
${http}keys:
  - name: main
    backend: local
    config: { path: ${keyFile} }
`;
}

/** What has to be on a control-plane node for its kube-apiserver to seal through Sealwax. */
export function controlPlaneText() {
  const config = configText({ cluster: 'my-cluster', socketPath: onNode.socket, keyFile: onNode.keyFile });
  return `The same on a control-plane node (Kubernetes 1.29 or newer)

1. ${onNode.config}, mode 0600:

${indented(config)}
2. As root:

    mkdir -p ${onNode.keyFile.slice(0, onNode.keyFile.lastIndexOf('/'))}
    sealwax local init ${onNode.keyFile}
    sealwax check --config ${onNode.config}
    sealwax serve --config ${onNode.config}

3. ${onNode.encryption}, mode 0600:

${indented(encryptionConfiguration(onNode.socket))}
4. Two flags of kube-apiserver, which must see both ${onNode.encryption} and the socket:

    --encryption-provider-config=${onNode.encryption}
    --encryption-provider-config-automatic-reload=true

5. Once all API servers have it, seal what was stored before:

    kubectl get secrets --all-namespaces -o json | kubectl replace -f -
`;
}

/** With `identity` last, so that what was stored before stays readable. */
function encryptionConfiguration(socketPath) {
  return `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers:
      - kms:
          apiVersion: v2
          name: sealwax
          endpoint: unix://${socketPath}
      - identity: {}
`;
}

function indented(text) {
  return text.replace(/^(?=.)/gm, '    ');
}
