import type { HttpFault } from '../http-relay.js';

/** An exception as KMS sends it (AWS JSON 1.1): a status, and the name in the body. */
export function awsException(
  name: string,
  options: { readonly status?: number; readonly message?: string } = {},
): HttpFault {
  const { status = 400, message = 'said by the fault proxy' } = options;
  return {
    kind: 'answer',
    status,
    body: JSON.stringify({ __type: name, message }),
    headers: { 'content-type': 'application/x-amz-json-1.1' },
  };
}
