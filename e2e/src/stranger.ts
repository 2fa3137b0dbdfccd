import type { FaultProxy } from './fault-proxy.js';

/** The kit's `stranger` for a service behind `proxy`, one for HTTP: a firewall's page in its place, with 403 and 404 in turn. */
export function strangerAt(proxy: FaultProxy): () => Promise<void> {
  let status = 404;
  return async () => {
    status = status === 403 ? 404 : 403;
    await proxy.set({
      kind: 'answer',
      status,
      body: '<html><h1>Request blocked</h1></html>',
      headers: { 'content-type': 'text/html' },
    });
  };
}
