import { writeFile } from 'node:fs/promises';
import { Client, credentials, status } from '@grpc/grpc-js';
import { isBackendError, type BackendError } from '@sealwax/core';
import { expect, test } from 'vitest';
import { fetchJwtSvid } from '../src/workload-api.js';
import { listen, socketPath, svids, type JwtSvidRequest } from './workload-api-double.js';

const never = new AbortController().signal;
const doing = 'log in at auth/jwt';

async function failureOf(call: Promise<unknown>): Promise<BackendError> {
  const error = await call.then(
    () => new Error('it did not fail'),
    (reason: unknown) => reason,
  );
  if (!isBackendError(error)) throw error;
  return error;
}

test('asks for the audience and the identity of the config, and fetches anew each time', async () => {
  const socket = await socketPath();
  const requests: JwtSvidRequest[] = [];
  await listen(socket, (request) => svids(`jwt-${requests.push(request)}`));
  expect(await fetchJwtSvid({ socket, audience: 'vault' }, doing, never)).toBe('jwt-1');
  const spiffeId = 'spiffe://example.com/sealwax';
  expect(await fetchJwtSvid({ socket, audience: 'vault', spiffeId }, doing, never)).toBe('jwt-2');
  expect(requests).toEqual([
    { audience: ['vault'], spiffeId: '' },
    { audience: ['vault'], spiffeId },
  ]);
});

test('takes the first of several', async () => {
  const socket = await socketPath();
  await listen(socket, () => svids('first', 'second'));
  expect(await fetchJwtSvid({ socket, audience: 'vault' }, doing, never)).toBe('first');
});

test('the service rejects a call without the header that ours sends', async () => {
  const socket = await socketPath();
  await listen(socket, () => svids('jwt'));
  const client = new Client(`unix:${socket}`, credentials.createInsecure());
  const rejected = new Promise((resolve) => {
    const bytes = (same: Buffer) => same;
    client.makeUnaryRequest('/SpiffeWorkloadAPI/FetchJWTSVID', bytes, bytes, Buffer.alloc(0), resolve);
  });
  expect(await rejected).toMatchObject({ code: status.INVALID_ARGUMENT });
  client.close();
  expect(await fetchJwtSvid({ socket, audience: 'vault' }, doing, never)).toBe('jwt');
});

test.each([
  [status.PERMISSION_DENIED, 'unauthenticated'],
  [status.UNAUTHENTICATED, 'unauthenticated'],
  [status.INVALID_ARGUMENT, 'unauthenticated'],
  [status.UNIMPLEMENTED, 'unauthenticated'],
  [status.UNAVAILABLE, 'unavailable'],
  [status.INTERNAL, 'unavailable'],
  [status.UNKNOWN, 'unavailable'],
  [status.RESOURCE_EXHAUSTED, 'unavailable'],
  [status.CANCELLED, 'unavailable'],
])('status %i is %s', async (code, expected) => {
  const socket = await socketPath();
  await listen(socket, () => ({ code, details: 'no\nidentity issued' }));
  const failure = await failureOf(fetchJwtSvid({ socket, audience: 'vault' }, doing, never));
  expect(failure.code).toBe(expected);
  expect(failure.message).toContain(`vault: log in at auth/jwt: the SPIFFE Workload API at ${socket}: `);
  expect(failure.message).toContain('no identity issued');
});

test.each([
  ['no JWT', svids()],
  ['an empty one', svids('')],
])('an answer with %s is unauthenticated', async (_, answer) => {
  const socket = await socketPath();
  await listen(socket, () => answer);
  expect(await failureOf(fetchJwtSvid({ socket, audience: 'vault' }, doing, never))).toMatchObject({
    code: 'unauthenticated',
  });
});

test('an answer that is cut off is unavailable, and its JWT in no message', async () => {
  const socket = await socketPath();
  await listen(socket, () => svids('secret-jwt').subarray(0, -20));
  const failure = await failureOf(fetchJwtSvid({ socket, audience: 'vault' }, doing, never));
  expect(failure.code).toBe('unavailable');
  expect(failure.message).not.toContain('secret-jwt');
});

test('no socket, and one where nobody listens, are unavailable; it works as soon as somebody does', async () => {
  const socket = await socketPath();
  const fetch = () => fetchJwtSvid({ socket, audience: 'vault' }, doing, never);
  const missing = await failureOf(fetch());
  expect(missing.code).toBe('unavailable');
  expect(missing.message).toMatch(/: there is no such socket$/);
  const dead = await socketPath();
  await writeFile(dead, '');
  const refused = await failureOf(fetchJwtSvid({ socket: dead, audience: 'vault' }, doing, never));
  expect(refused.code).toBe('unavailable');
  expect(refused.message).toMatch(/: connection refused$/);
  await listen(socket, () => svids('jwt'));
  expect(await fetch()).toBe('jwt');
});

test('a service that does not answer is waited for until the signal aborts', async () => {
  const socket = await socketPath();
  const asked = new AbortController();
  const waiting = new Promise<Uint8Array>(() => undefined);
  await listen(socket, () => {
    asked.abort();
    return waiting;
  });
  const failure = await failureOf(fetchJwtSvid({ socket, audience: 'vault' }, doing, asked.signal));
  expect(failure).toMatchObject({ code: 'unavailable', message: expect.stringMatching(/no answer in time$/) });
});

test('a signal that has aborted already keeps it from asking', async () => {
  const socket = await socketPath();
  let requests = 0;
  await listen(socket, () => {
    requests += 1;
    return svids('jwt');
  });
  const reason = new Error('too late');
  await expect(fetchJwtSvid({ socket, audience: 'vault' }, doing, AbortSignal.abort(reason))).rejects.toBe(reason);
  expect(requests).toBe(0);
});
