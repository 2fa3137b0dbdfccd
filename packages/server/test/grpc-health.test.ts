import { rename } from 'node:fs/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import {
  HealthCheckRequest,
  HealthCheckResponse,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from '../src/gen/grpc/health/v1/health.js';
import { makeKeyFile, writeConfig } from './config-file.js';
import { startWith } from './plugin.js';
import { frame, type RpcConnection } from './rpc.js';
import { temporaryDirectory } from './temporary-directory.js';
import { until } from './until.js';

const NOT_FOUND = 5;
const request = (service: string) => HealthCheckRequest.encode({ service }).finish();

async function startWithoutKey() {
  const config = await writeConfig(await temporaryDirectory());
  const plugin = startWith(config);
  const rpc = await plugin.connect();
  onTestFinished(() => {
    rpc.close();
  });
  return { config, plugin, rpc };
}

async function check(rpc: RpcConnection, service: string): Promise<ServingStatus | undefined> {
  const { response } = await rpc.call('/grpc.health.v1.Health/Check', request(service));
  return response && HealthCheckResponse.decode(response).status;
}

describe('the health service', () => {
  test.each(['', 'v2.KeyManagementService'])('says of "%s" what Status says', async (service) => {
    const { config, plugin, rpc } = await startWithoutKey();
    expect(await check(rpc, service)).toBe(ServingStatus.NOT_SERVING);
    await makeKeyFile(config);
    await plugin.untilReady();
    expect(await check(rpc, service)).toBe(ServingStatus.SERVING);
    // An outage that local keys in memory bridge is none to the API server.
    await rename(config.keyFile, `${config.keyFile}.away`);
    expect(await check(rpc, service)).toBe(ServingStatus.SERVING);
  });

  test('knows no other service', async () => {
    const { rpc } = await startWithoutKey();
    expect((await rpc.call('/grpc.health.v1.Health/Check', request('other'))).status).toBe(NOT_FOUND);
  });

  test('tells who watches of each change, and lets go of him when the server stops', async () => {
    const { config, plugin, rpc } = await startWithoutKey();
    const { stream, answer } = rpc.begin('/grpc.health.v1.Health/Watch');
    const told: ServingStatus[] = [];
    // Each of these messages is far smaller than what HTTP/2 would cut in two.
    stream.on('data', (chunk: Buffer) => told.push(HealthCheckResponse.decode(chunk.subarray(5)).status));
    stream.end(frame(request('')));
    await until(() => told.length === 1);
    await makeKeyFile(config);
    await until(() => told.length === 2);
    expect(told).toEqual([ServingStatus.NOT_SERVING, ServingStatus.SERVING]);
    const startedAtMs = Date.now();
    expect((await plugin.stop()).code).toBe(0);
    expect((await answer).status).toBe(0);
    expect(Date.now() - startedAtMs).toBeLessThan(4_000);
  });
});
