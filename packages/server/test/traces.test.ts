import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { makeKeyFile, writeConfig } from './config-file.js';
import { startWith } from './plugin.js';
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

/** A collector on loopback that keeps what it gets. */
async function startCollector(): Promise<{ readonly url: string; readonly spans: ExportedSpan[] }> {
  const spans: ExportedSpan[] = [];
  const server = createServer((request, response) => {
    void json(request).then((body) => {
      for (const { scopeSpans } of exported.parse(body).resourceSpans)
        spans.push(...scopeSpans.flatMap((s) => s.spans));
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/traces`, spans };
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
