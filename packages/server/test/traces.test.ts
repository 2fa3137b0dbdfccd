import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { makeKeyFile, writeConfig } from './config-file.js';
import { startPlugin, startWith } from './plugin.js';
import { freePort } from './free-port.js';
import { temporaryDirectory } from './temporary-directory.js';
import { until } from './until.js';

const seed = new Uint8Array(32).fill(7);

/** What a collector gets (OTLP/HTTP in JSON), as far as the test reads it. */
const exported = z.object({
  resourceSpans: z.array(
    z.object({
      scopeSpans: z.array(
        z.object({
          spans: z.array(
            z.object({
              name: z.string(),
              traceId: z.string(),
              spanId: z.string(),
              parentSpanId: z.string().optional(),
              attributes: z.array(
                z.object({ key: z.string(), value: z.looseObject({ stringValue: z.string().optional() }) }),
              ),
            }),
          ),
        }),
      ),
    }),
  ),
});
type ExportedSpan = z.infer<typeof exported>['resourceSpans'][number]['scopeSpans'][number]['spans'][number];

interface Collector {
  readonly url: string;
  readonly spans: ExportedSpan[];
  /** Of its next answers; it gives none while this is `undefined`. */
  status: number | undefined;
  /** What it was sent, answered or not. */
  requests: number;
}

/** A collector on loopback that keeps what it gets. */
async function startCollector(): Promise<Collector> {
  const spans: ExportedSpan[] = [];
  const server = createServer((request, response) => {
    void json(request).then((body) => {
      for (const { scopeSpans } of exported.parse(body).resourceSpans)
        spans.push(...scopeSpans.flatMap((s) => s.spans));
      collector.requests += 1;
      if (collector.status === undefined) return;
      response.writeHead(collector.status, { 'content-type': 'application/json' }).end('{}');
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  const collector: Collector = { url: `http://127.0.0.1:${port}/v1/traces`, spans, status: 200, requests: 0 };
  return collector;
}

test('a Decrypt and the unwrap that it causes are spans of one trace, with the request’s uid and no plaintext', async () => {
  const collector = await startCollector();
  const directory = await temporaryDirectory();
  const config = await writeConfig(directory);
  await makeKeyFile(config);
  const first = startWith(config);
  await first.untilReady();
  const sealed = await (await first.connect()).encrypt(seed);
  await first.stop();

  const plugin = startWith(await writeConfig(directory, { traces: { otlpEndpoint: collector.url } }));
  await plugin.untilReady();
  const rpc = await plugin.connect();
  expect(await rpc.decrypt(sealed, 'the-uid')).toEqual(Buffer.from(seed));
  rpc.close();
  // What is not sent yet is sent before the end.
  await plugin.stop();

  const decrypt = await until(() => collector.spans.find(({ name }) => name.endsWith('/Decrypt')));
  const uid = decrypt.attributes.find(({ key }) => key === 'kubernetes.request.uid');
  expect(uid?.value.stringValue).toBe('the-uid');
  const unwrap = collector.spans.find(({ parentSpanId }) => parentSpanId === decrypt.spanId);
  expect(unwrap).toMatchObject({ name: 'kms unwrap', traceId: decrypt.traceId });
  const text = JSON.stringify(collector.spans);
  expect(text).not.toContain(Buffer.from(seed).toString('base64'));
  expect(text).not.toContain(Buffer.from(seed).toString('hex'));
});

test.each([
  ['gives no answer', async () => Object.assign(await startCollector(), { status: undefined }).url],
  ['is away', async () => `http://127.0.0.1:${await freePort()}/v1/traces`],
])('a collector that %s neither holds up the end of the plugin nor makes it a failure', async (_what, start) => {
  const plugin = await startPlugin({ sections: { traces: { otlpEndpoint: await start() } } });
  expect(await plugin.stop()).toEqual({ code: 0, signal: null });
  expect(plugin.log.find(({ msg }) => String(msg).startsWith('traces: the last spans'))).toMatchObject({
    level: 'warn',
    error: { message: 'not done within 2 s' },
  });
});

test('that spans cannot be sent is said once, and once more after some were', async () => {
  const collector = await startCollector();
  const plugin = await startPlugin({ sections: { traces: { otlpEndpoint: collector.url } } });
  const said = () => plugin.log.filter(({ msg }) => String(msg).startsWith('traces: spans cannot be sent'));
  // Each probe is a span: something is sent every few seconds.
  const answeredWith = async (status: number, times: number) => {
    collector.status = status;
    const sent = collector.requests + times;
    await until(() => collector.requests >= sent);
  };
  await answeredWith(400, 2);
  await until(() => said().length > 0);
  expect(said()).toMatchObject([{ level: 'warn', error: { message: expect.anything() } }]);
  await answeredWith(200, 1);
  await answeredWith(400, 1);
  await until(() => said().length > 1);
  expect(said()).toHaveLength(2);
});
